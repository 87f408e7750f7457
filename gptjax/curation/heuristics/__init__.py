"""Rules that drop documents, or lines of them, by figures of their text."""
