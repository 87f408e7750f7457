"""The stages of the data engine in order, from sources to shards."""
