"""InstructGPT's pipeline as one study: its stages, what they come to, and the evidence."""
