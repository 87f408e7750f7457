"""Text to training batches: corpora (documents) -> shards (token files) -> loader (batches)."""

from gptjax.data.corpora import (  # noqa: F401, to register their corpora
    images,
    instructions_text,
    pairs,
    parquet,
    sums,
)
from gptjax.data.corpora.text import CORPORA, Corpus, Document, load_corpus
from gptjax.data.prepared import corpus as prepared_corpus  # noqa: F401, likewise

__all__ = ["CORPORA", "Corpus", "Document", "load_corpus"]
