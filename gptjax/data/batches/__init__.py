"""Batches as functions of seed and index: packing, shards, mixtures, the loader."""
