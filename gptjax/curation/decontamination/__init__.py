"""Evaluation text in training text: removed, and measured (GPT-3, 2005.14165, appendix C)."""
