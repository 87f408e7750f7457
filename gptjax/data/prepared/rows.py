"""Rows of prepared data: windows of the stream, or whole documents packed into rows.

    rows = rows_of(opened.train, opened.index, context_length=1024, document_masking=False)
    rows.batch(np.arange(8))

Packings: "concatenate" cuts the stream into windows (2005.14165, section 2.3: documents follow each
other, none is padded). "best_fit" cuts documents that are longer than a row into rows, and puts
each rest into the fullest row that has room for it (Ding et al. 2024, "Fewer Truncations Improve
Language Modeling", 2404.10830, section 3). "document" gives each document rows of its own.
"""

import dataclasses
import functools

import numpy as np

from gptjax.data.batches.ledger import Passage, passages
from gptjax.data.batches.mixture import Mixture, Rows
from gptjax.data.batches.packing import best_fit, packed_batch
from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.prepared.index import PreparedIndex
from gptjax.data.prepared.split import OpenedData, PreparedSplit


@dataclasses.dataclass(frozen=True)
class StreamRows:
    """The full windows of a stream as rows.

    Attributes:
      split: the stream.
      context_length: T, tokens a row.
      document_masking: whether documents in a window are hidden from each other.
    """

    split: PreparedSplit
    context_length: int
    document_masking: bool

    def __len__(self) -> int:
        return self.split.full_windows(self.context_length)

    def batch(self, indices: np.ndarray) -> HostBatch:
        return self.split.batch(indices, self.context_length, self.document_masking)

    def passages(self, index: int) -> list[Passage]:
        """What a row holds of documents, which are numbered in the split."""
        return passages(self.split, [index], self.context_length)


@dataclasses.dataclass(frozen=True)
class DocumentRows:
    """Rows of documents that are hidden from each other; the rest of a row is padding.

    Attributes:
      split: the stream that they lie in.
      context_length: T, places a row.
      shared: whether several documents share a row ("best_fit"), or each has its own.
      ended: whether an end-of-text follows each document, and is predicted from it.
    """

    split: PreparedSplit
    context_length: int
    shared: bool
    ended: bool

    @functools.cached_property
    def _pieces(self) -> tuple[np.ndarray, np.ndarray]:
        """First token and places of each piece of a document of at most T places, [P] int64."""
        starts = np.asarray(self.split.document_starts)
        sizes = np.diff(starts, append=len(self.split.tokens) - int(self.ended))
        sizes = sizes if self.ended else np.maximum(sizes - 1, 0)
        counts = -(-sizes // self.context_length)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        first = np.repeat(starts, counts) + within * self.context_length
        left = np.repeat(sizes, counts) - within * self.context_length
        return first, np.minimum(left, self.context_length)

    @functools.cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Pieces of all rows, row after row, [P], and where each row begins in them, [R + 1]."""
        sizes = self._pieces[1]
        if not self.shared:
            return np.arange(len(sizes)), np.arange(len(sizes) + 1)
        rows = best_fit(sizes, self.context_length, np.arange(len(sizes)))
        counts = np.cumsum([0, *map(len, rows)])
        return np.array([piece for row in rows for piece in row], np.int64), counts

    def __len__(self) -> int:
        return len(self._rows[1]) - 1

    @property
    def fill(self) -> float:
        """Share of the places that are not padding."""
        return float(self._pieces[1].sum()) / (len(self) * self.context_length)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Makes rows, given by number, [B] int64, in any order.

        Returns:
          tokens, targets: [B, T] int32; padding is 0.
          loss_weights: [B, T] float32, 0 on padding, 1 elsewhere.
          segment_ids: [B, T] int32, the pieces of a row counted from 0; -1 is padding.
          positions: [B, T] int32, from 0 in each piece; 0 in padding.
        """
        (first, sizes), (members, begins) = self._pieces, self._rows

        def piece(number: int) -> tuple[np.ndarray, float]:
            start = int(first[number])
            return self.split.tokens[start : start + int(sizes[number]) + 1], 1.0

        rows = [
            [piece(number) for number in members[begins[index] : begins[index + 1]].tolist()]
            for index in indices.tolist()
        ]
        return packed_batch(rows, self.context_length)

    def passages(self, index: int) -> list[Passage]:
        """What a row holds of documents, which are numbered in the split."""
        (first, sizes), (members, begins) = self._pieces, self._rows
        pieces = members[begins[index] : begins[index + 1]]
        starts = self.split.document_starts
        documents = starts.searchsorted(first[pieces], side="right") - 1
        return [
            Passage(0, document, int(first[piece] - starts[document]), int(sizes[piece]))
            for document, piece in zip(documents.tolist(), pieces.tolist(), strict=True)
        ]


def rows_of(
    split: PreparedSplit, index: PreparedIndex, context_length: int, document_masking: bool
) -> StreamRows | DocumentRows:
    """The rows of a split.

    Args:
      split: of the prepared data.
      index: of it, which says the packing.
      context_length: T, tokens a row.
      document_masking: of "concatenate"; the others always hide documents from each other.
    """
    if index.packing == "concatenate":
        return StreamRows(split, context_length, document_masking)
    ended = index.end_of_text is not None
    return DocumentRows(split, context_length, index.packing == "best_fit", ended)


def mixture_of(
    opened: OpenedData, context_length: int, document_masking: bool, seed: int
) -> Mixture:
    """The rows of all sources, each by its weight; which row is a function of (seed, example).

    Within an epoch of a source none of its rows comes twice.

    Raises:
      ValueError: a source that is shorter than a row.
    """
    rows: dict[str, Rows] = {
        name: rows_of(source.train, opened.index, context_length, document_masking)
        for name, source in opened.sources.items()
    }
    weights = {name: source.weight for name, source in opened.sources.items()}
    return Mixture(rows, weights, seed)
