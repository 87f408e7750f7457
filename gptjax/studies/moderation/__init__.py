"""The study of moderation: classifiers of undesired content on rows that are a test set."""
