"""Configurations of the kinds of run that are one module; none of these modules loads JAX."""
