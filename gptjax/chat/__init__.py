"""Conversations: what of them fits, how replies are chosen, and what may go in and out."""
