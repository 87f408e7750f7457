"""Linen modules, pure, one config object each: a trunk, a head, and their composition.

logits = GPT(config).apply({"params": params}, tokens)
"""
