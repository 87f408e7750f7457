"""Bounds of plans that command lines offer."""

MOST_DEVICES = 2**14  # that a plan may be for
