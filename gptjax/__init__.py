"""gptjax: the GPT line in JAX. Pure functions and Linen modules; binaries are in `experiments`."""
