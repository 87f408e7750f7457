"""The data engine: from raw text to packed tokens (GPT-3, 2005.14165, appendices A and C)."""
