"""Kinds of run, one module each."""
