"""Conversations, filters and moderation of a chat server; no web framework."""
