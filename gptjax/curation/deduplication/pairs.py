"""Pairs of documents: candidates by their signatures, and the true similarity of pairs.

    found = candidates(signatures, scheme)
    similarity = jaccard(sets, found.pairs[:, 0], found.pairs[:, 1])

Bands are sorted, so that what agrees is adjacent: memory is a few arrays as long as there are
documents, and the pairs.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from gptjax.curation.deduplication.scheme import MinHash
from gptjax.curation.deduplication.signatures import EMPTY, ShingleSets
from gptjax.curation.text_hashes import hash_segments

_BLOCK = 1 << 22  # shingles of pairs that are compared together


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Pairs that agree in a band.

    Attributes:
      pairs: int64 [pairs, 2], ascending, each once, the smaller number first.
      left_out: how often two documents agree in a band, and stand too far from each other among
        those that do: further than `neighbours`.
    """

    pairs: np.ndarray
    left_out: int


def candidates(signatures: np.ndarray, scheme: MinHash) -> Candidates:
    """The pairs that agree in all rows of a band.

    Among more than `scheme.neighbours` documents that agree, each is compared with so many that
    follow it: then, and only then, the pairs depend on the documents' order.

    Args:
      signatures: uint32 [documents, scheme.hashes].
    """
    filled = np.flatnonzero((signatures != EMPTY).any(1))
    signatures = signatures[filled]
    count = np.uint64(max(len(filled), 1))
    codes, left_out = np.zeros(0, np.uint64), 0
    for band in range(scheme.bands):
        rows = signatures[:, band * scheme.rows : (band + 1) * scheme.rows]
        values = rows[:, 0] if scheme.rows == 1 else _combined(rows)
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        left_out += _left_out(ordered, scheme.neighbours)
        of_band = [
            order[place].astype(np.uint64) * count + order[place + lag].astype(np.uint64)
            for place, lag in _agreeing(ordered, scheme.neighbours)
        ]
        codes = np.unique(np.concatenate([codes, *of_band]))
    pairs = np.stack([codes // count, codes % count], 1).astype(np.int64)
    return Candidates(filled[pairs], left_out)


def _combined(rows: np.ndarray) -> np.ndarray:
    starts = np.arange(len(rows)) * rows.shape[1]
    return hash_segments(np.ascontiguousarray(rows).ravel(), starts, starts + rows.shape[1])


def _agreeing(ordered: np.ndarray, neighbours: int) -> Iterator[tuple[np.ndarray, int]]:
    """Places and lags with ordered[place] == ordered[place + lag], lags up to `neighbours`."""
    place = np.arange(len(ordered))
    for lag in range(1, neighbours + 1):
        place = place[: np.searchsorted(place, len(ordered) - lag)]
        place = place[ordered[place] == ordered[place + lag]]
        if not len(place):
            return
        yield place, lag


def _left_out(ordered: np.ndarray, neighbours: int) -> int:
    starts = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))
    beyond = np.maximum(np.diff(starts, append=len(ordered)) - neighbours - 1, 0)
    return int((beyond * (beyond + 1) // 2).sum())


def jaccard(sets: ShingleSets, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The share of the shingles of either document that both have, float64 [pairs].

    Args:
      sets: of documents, none of them empty.
      left, right: int64 [pairs], numbers of documents in `sets`.
    """
    sizes = np.diff(sets.offsets)
    ones = np.ones(len(sets.values), np.bool)
    width = int(sets.values.max(initial=0)) + 1
    matrix = csr_array((ones, sets.values, sets.offsets), shape=(len(sizes), width))
    shared = np.empty(len(left), np.int64)
    for start, stop in _blocks(sizes[left] + sizes[right]):
        both = matrix[left[start:stop]].multiply(matrix[right[start:stop]])
        shared[start:stop] = np.diff(both.indptr)
    return shared / (sizes[left] + sizes[right] - shared)


def _blocks(costs: np.ndarray) -> Iterator[tuple[int, int]]:
    """Consecutive ranges, each of one place or of a cost of at most `_BLOCK`."""
    sums = np.cumsum(costs)
    start = 0
    while start < len(costs):
        before = sums[start - 1] if start else 0
        stop = max(int(np.searchsorted(sums, before + _BLOCK, side="right")), start + 1)
        yield start, stop
        start = stop
