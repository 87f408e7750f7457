"""Conversations, rankings and prompts, and the format of a chat."""
