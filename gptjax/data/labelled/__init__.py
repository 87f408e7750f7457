"""Texts with labels: what a model is fine-tuned on to classify, compare or choose."""
