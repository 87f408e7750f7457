"""What is written for people: Markdown, pages of samples."""
