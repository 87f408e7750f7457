"""The start of a new run: its source, and the parameters, model and tokenizer that it takes."""
