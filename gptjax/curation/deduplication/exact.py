"""Lines or paragraphs that stand in several places: the first of them stays.

    found = repeated_pieces(read, "paragraph", priority=["books", "web"])
    document = found.cut(document)      # without its repetitions, or why it is dropped

What is first does not depend on the order in which documents come: a document of the corpus of the
first priority is before others, and in a corpus the one with the lesser key. Pieces are equal where
64 bits of hash are: among n distinct pieces two are taken for equal with a probability of
n^2 / 2^65. Of a piece 16 bytes are kept in memory. Whole documents are compared in
`gptjax.curation.phases.exact`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from gptjax.curation.batches import Mapper, Name, batches, order_of_keys, priorities
from gptjax.curation.deduplication.pieces import Unit, pieces, without
from gptjax.curation.document import Document, Dropped, document_key

Read = Callable[[], Iterable[Document]]


@dataclasses.dataclass(frozen=True)
class RepeatedPieces:
    """Which pieces of documents stand elsewhere before.

    Attributes:
      unit, shortest: of the pieces, see `pieces`.
      pieces: how many there are.
      repeated: the numbers of those that go, int64, by the keys of documents.
    """

    unit: Unit
    shortest: int
    pieces: int
    repeated: Mapping[bytes, np.ndarray]

    def cut(self, document: Document) -> Document | Dropped:
        """The document without them; one that has nothing left is dropped."""
        numbers = self.repeated.get(document.key)
        if numbers is None:
            return document
        spans = pieces([document.text], self.unit, self.shortest).spans
        text = without(document.text, spans[numbers])
        if text.isspace() or not text:
            reason = f"deduplication.repeated_{self.unit}s"
            return Dropped(reason, f"all of its {len(spans)} {self.unit}s stand elsewhere")
        return dataclasses.replace(document, text=text)


def repeated_pieces(
    read: Read, unit: Unit, priority: Sequence[str], shortest: int = 1, mapper: Mapper = map
) -> RepeatedPieces:
    """Finds lines or paragraphs that stand in several places, in one document or in several.

    Args:
      read: yields the documents.
      unit: "line" or "paragraph".
      priority: names of all corpora.
      shortest: characters of a piece that counts; shorter ones stay wherever they are.
      mapper: applies a function to batches of documents, in order.

    Raises:
      ValueError: no documents, two of one source and id, a source that `priority` does not name.
    """
    made = mapper(functools.partial(_hashes, unit=unit, shortest=shortest), batches(read()))
    parts = list(made)
    names = [name for part_names, _, _ in parts for name in part_names]
    ranks = _ranks(f"repeated {unit}s", names, priority)
    hashes = np.concatenate([hashes for _, hashes, _ in parts])
    counts = np.concatenate([counts for _, _, counts in parts])
    first = first_of_equal(hashes, np.repeat(ranks, counts))
    places = np.flatnonzero(first != np.arange(len(hashes)))
    starts = np.cumsum(counts) - counts
    owners = np.searchsorted(starts, places, side="right") - 1
    bounds = np.flatnonzero(np.diff(owners)) + 1
    numbers = np.split(places - starts[owners], bounds) if len(places) else []
    having = owners[np.concatenate([[0], bounds])] if len(places) else ()
    repeated = {
        document_key(*names[owner]): of_document
        for owner, of_document in zip(having, numbers, strict=True)
    }
    return RepeatedPieces(unit, shortest, len(hashes), repeated)


def first_of_equal(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The place of the first of those that are equal to each, int64 [values].

    Args:
      values: [values], of any type that sorts.
      ranks: int64 [values]; the first is the one of the least rank, then of the least place.
    """
    order = np.lexsort((ranks, values))  # stable
    ordered = values[order]
    new = np.concatenate([np.ones(len(order[:1]), np.bool), ordered[1:] != ordered[:-1]])
    first = np.empty(len(order), np.int64)
    first[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]
    return first


def _ranks(what: str, names: Sequence[Name], priority: Sequence[str]) -> np.ndarray:
    order = order_of_keys(what, names)
    by_priority = order[np.argsort(priorities(what, names, priority)[order], kind="stable")]
    ranks = np.empty(len(order), np.int64)
    ranks[by_priority] = np.arange(len(order))
    return ranks


def _hashes(
    documents: Sequence[Document], unit: Unit, shortest: int
) -> tuple[list[Name], np.ndarray, np.ndarray]:
    found = pieces([document.text for document in documents], unit, shortest).hashes
    names = [(document.source, document.id) for document in documents]
    return names, found.values, found.counts
