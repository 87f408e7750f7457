"""Implementations of attention: reference, blockwise, fused, on a mesh."""
