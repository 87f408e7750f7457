"""Flags that binaries share."""
