"""Attention variants, each trained to the same budget and compared."""
