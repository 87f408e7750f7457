"""Bounds and choices of plans that command lines offer."""

MOST_DEVICES = 2**14  # that a plan may be for
TARGETS = ("h100", "v5e")  # devices of `ahead`
