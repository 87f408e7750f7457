"""Costs, pictures and parity of attention patterns."""
