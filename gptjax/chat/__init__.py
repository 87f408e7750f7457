"""Conversations with a model: what fits in its context, and how its replies are chosen."""
