"""Forms of tasks: how an item is put to a language model, and how its answers are judged."""
