"""Sampling from trained models: prompts to texts, step by step with a key-value cache."""
