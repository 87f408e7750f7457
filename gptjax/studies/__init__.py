"""Studies that are made of many runs."""
