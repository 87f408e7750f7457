"""Trained models that read longer contexts: losses by position, and what is found far back."""
