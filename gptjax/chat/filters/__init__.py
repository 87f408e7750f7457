"""Filters of what goes into a model and comes out: words, expressions, a classifier."""
