"""Text to training batches: corpora (documents) -> shards (token files) -> loader (batches)."""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.data.corpora.text import CORPORA, Corpus, Document, load_corpus

__all__ = ["CORPORA", "Corpus", "Document", "load_corpus"]
__getattr__, __dir__ = public_names(__name__)
