"""What reports are made of: on attention patterns, and of answers side by side."""
