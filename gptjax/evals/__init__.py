"""Evals: what a language model is asked, how its answers are counted, and what was published.

See `evaluation` for the harness, `tasks` for the sets, and `openai_evals` for OpenAI's registry.
"""
