"""Duplicates of documents, lines and paragraphs (GPT-3, 2005.14165, appendix A)."""
