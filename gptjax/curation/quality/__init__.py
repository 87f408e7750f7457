"""Classifiers of documents: GPT-3's quality filter, and the detector of generated text."""
