"""What the stages of the data engine hand on: a text, where it came from, why it was dropped.

document = Document("books/pride.txt", "It is a truth ...", "books", "public domain")
document.key        # 16 bytes: by them documents are ordered, and draws are made
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A text of a corpus.

    Attributes:
      id: unique in its source, and the same in every run: "books/pride.txt", "cc.warc.gz#12".
      text: of the document.
      source: name of the corpus in the configuration.
      licence: of the text; None: not stated.
      metadata: what else is known: url, language, and so on; values that JSON has.
    """

    id: str
    text: str
    source: str
    licence: str | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> bytes:
        """16 bytes of SHA-256 of source, NUL, id."""
        return document_key(self.source, self.id)


def document_key(source: str, id: str) -> bytes:
    """The key of the document `id` of `source`, without its text."""
    return hashlib.sha256(f"{source}\0{id}".encode(errors="surrogatepass")).digest()[:16]


@dataclasses.dataclass(frozen=True, slots=True)
class Dropped:
    """Why a document was dropped: each has exactly one reason.

    Attributes:
      reason: name of the room and of its rule: "gopher_quality.too_few_words".
      detail: a figure for people: "12 words, expected at least 50".
    """

    reason: str
    detail: str
