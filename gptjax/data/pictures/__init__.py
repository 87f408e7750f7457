"""Pictures: how they are decoded, what one is, and those that are drawn here or read from MNIST."""
