"""Models that follow instructions: rewards, what they train, and how the results are judged."""
