"""The life of a run in its work directory: the claim on it, and starts after the first."""
