"""The HTTP server and its chat page: the one room of the web framework."""
