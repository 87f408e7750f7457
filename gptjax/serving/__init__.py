"""HTTP: the server of models, and its page."""
