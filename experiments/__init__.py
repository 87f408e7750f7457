"""Absl-flag binaries and the experiments they run; `python -m experiments.list` shows them."""
