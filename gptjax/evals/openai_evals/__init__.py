"""OpenAI Evals: its public registry, its classes and its log, without its packages.

See `registry` for what is read, `classes` for what runs, `run` for one eval, and `log` for its
file. The format is that of openai/evals 3.0.1 (MIT); docs/openai_evals.md says what differs.
"""
