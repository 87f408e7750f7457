"""Bodies of requests and answers: their fields, how they are checked, and shapes of parts."""
