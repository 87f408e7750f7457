"""Text to training batches: corpora (documents) -> shards (token files) -> loader (batches)."""

from gptjax.data.corpora import images, instructions_text

__all__ = ["images", "instructions_text"]  # imported to register their corpora
