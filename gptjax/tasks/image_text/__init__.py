"""The kind of run that learns from text with images in it."""
