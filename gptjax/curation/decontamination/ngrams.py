"""Runs of words of evaluation items, and where training text has them.

    index = NgramIndex.of([item.text for item in items], 13)
    found = index.find(["a training text", ...])

A run is told by 64 bits, see `text_hashes`: of 10^11 runs of training text beside 10^6 of
evaluation sets, one in 200 times a single one is taken for another.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gptjax.curation.text_hashes import TextHashes, hash_runs, hash_words

_LARGEST_TABLE = 26  # bits: 64 MB


@dataclasses.dataclass(frozen=True)
class Found:
    """Runs of some texts that are in an index.

    Attributes:
      ngrams: int64 [found], places in the index.
      texts: int64 [found], numbers of the texts, ascending.
      words: int64 [found], the first word of the run in its text.
      looked_up: how many runs the texts have, in the index or not.
    """

    ngrams: np.ndarray
    texts: np.ndarray
    words: np.ndarray
    looked_up: int


@dataclasses.dataclass(frozen=True)
class NgramIndex:
    """The distinct runs of `length` words of evaluation items.

    Attributes:
      length: words of a run.
      values: uint64 [ngrams], ascending.
      items: int64 [runs], for each run of the items its place in `values`.
      offsets: int64 [items + 1]; item i has the runs offsets[i] to offsets[i + 1].
      table: bool [2^bits]; whether a value begins with these bits: most runs of training text are
        ruled out by one look.
    """

    length: int
    values: np.ndarray
    items: np.ndarray
    offsets: np.ndarray
    table: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str], length: int) -> "NgramIndex":
        """The index of the items' texts."""
        runs = hash_runs(hash_words(texts), length)
        values, items = np.unique(runs.values, return_inverse=True)
        bits = min(int(len(values) * 16).bit_length(), _LARGEST_TABLE)
        table = np.zeros(1 << bits, np.bool)
        table[values >> np.uint64(64 - bits)] = True
        return cls(length, values, items, runs.offsets, table)

    def find(self, texts: Sequence[str]) -> Found:
        """The runs of training texts that are in the index, in order."""
        return self.find_runs(hash_runs(hash_words(texts), self.length))

    def find_runs(self, runs: TextHashes) -> Found:
        """As `find`, of texts whose runs of `length` words are hashed already."""
        shift = np.uint64(64 - (len(self.table).bit_length() - 1))
        maybe = np.flatnonzero(self.table[runs.values >> shift])
        places = np.searchsorted(self.values, runs.values[maybe])
        places = np.minimum(places, len(self.values) - 1)
        same = self.values[places] == runs.values[maybe]
        found = maybe[same]
        texts = np.searchsorted(runs.offsets, found, side="right") - 1
        return Found(places[same], texts, found - runs.offsets[texts], len(runs.values))
