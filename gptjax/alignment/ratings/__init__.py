"""Ratings of systems by judgements of their answers: Elo, win rates, best-of-n."""
