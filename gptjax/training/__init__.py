"""Supervised training: state, losses, optimizers, partitioning, checkpoints, metrics, the loop."""
