"""Documents from files of text, rows, web archives and books."""
