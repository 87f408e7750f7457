"""Models that answer the requests of evals: decoders, of text alone or with images in it."""
