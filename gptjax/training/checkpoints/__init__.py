"""Checkpoints: saved, kept, verified and started from."""
