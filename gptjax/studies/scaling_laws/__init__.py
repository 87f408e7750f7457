"""Ladders of runs, the loss of a larger run predicted from them, and the prediction held to."""
