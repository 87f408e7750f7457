"""Pretrained models that are fine-tuned on the same tasks and compared."""
