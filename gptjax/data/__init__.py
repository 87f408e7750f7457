"""Text to training batches: corpora (documents) -> shards (token files) -> loader (batches)."""

from gptjax.data import images

__all__ = ["images"]  # imported to register its corpora
