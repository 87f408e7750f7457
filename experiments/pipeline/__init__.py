"""InstructGPT's pipeline as one run: its stages, what they come to, and the evidence."""
