"""A decoder that reads images among its text."""
