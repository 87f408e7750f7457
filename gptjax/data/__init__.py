"""Text to training batches: corpora (documents) -> shards (token files) -> loader (batches)."""
