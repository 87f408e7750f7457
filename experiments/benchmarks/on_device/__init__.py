"""Parts of the suite `accelerator`: they need JAX, Flax, optax and orbax alone."""
