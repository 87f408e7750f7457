"""Corpora: documents of text and of images, by name."""
