"""Text to training batches: corpora (documents) -> shards (token files) -> loader (batches)."""

from gptjax.data.corpora import images, instructions_text, pairs  # noqa: F401, to register their corpora
from gptjax.data.corpora.text import CORPORA, Corpus, Document, load_corpus
from gptjax.data.prepared import corpus as prepared_corpus  # noqa: F401, likewise

__all__ = ["CORPORA", "Corpus", "Document", "load_corpus"]
