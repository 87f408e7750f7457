"""Prepared data: shards of tokens with an index, which `experiments.prepare_data` writes."""
