"""Checkpoints: what is saved, kept, verified and started from."""
