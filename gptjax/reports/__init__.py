"""Reports for people: Markdown, pages of samples."""
