"""Tables of papers: the published number, ours beside it, and what the paper claims of them."""
