"""Text with images in it: documents, sets of them, and rows for the training loop."""
