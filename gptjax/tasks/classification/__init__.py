"""The kind of run `classification`: GPT-1's fine-tuning on a task with labels."""
