"""The kind of run `moderation`: which categories of undesired content a text is of."""
