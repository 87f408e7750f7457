"""Trials at equal budget: what a comparison of attention variants runs, measures and reports."""
