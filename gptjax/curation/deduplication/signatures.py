"""MinHash signatures of documents, and sets of their shingles.

    found = signatures(texts, scheme)    # uint32 [texts, scheme.hashes]

Both are functions of each text alone: any division of the texts gives the same rows.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from gptjax.curation.batches import MOST_DOCUMENTS
from gptjax.curation.deduplication.scheme import MinHash
from gptjax.curation.text_hashes import TextHashes, hash_runs, hash_words, mixed

EMPTY = np.uint32(0xFFFFFFFF)  # a row of these has no shingle
_SET_BITS = 47  # of a shingle in a set; 17 more hold the number of its text


def shingles(texts: Sequence[str], scheme: MinHash) -> TextHashes:
    """Every run of `scheme.shingle_words` words; a text of fewer words is one shingle."""
    return hash_runs(hash_words(texts), scheme.shingle_words, short=True)


def signatures(texts: Sequence[str], scheme: MinHash) -> np.ndarray:
    """The least values of the hash functions (a x + b) >> 32 on each text's shingles.

    Returns:
      uint32 [texts, scheme.hashes]; a text without words has a row of `EMPTY`.

    Source: Dietzfelbinger et al., "A reliable randomized algorithm for the closest-pair problem",
    1997: multiply-shift hashing, here of 64 bits to 32.
    """
    of_texts = shingles(texts, scheme)
    found = np.full((len(texts), scheme.hashes), EMPTY)
    filled = np.flatnonzero(of_texts.counts)
    if len(filled):
        starts = of_texts.offsets[filled]
        for column, (factor, addend) in enumerate(_functions(scheme)):
            values = of_texts.values * factor
            values += addend
            found[filled, column] = np.minimum.reduceat(values, starts) >> np.uint64(32)
    return found


def _functions(scheme: MinHash) -> np.ndarray:
    """Factor (odd) and addend of each hash function, uint64 [hashes, 2]."""
    counters = np.arange(2 * scheme.hashes, dtype=np.uint64) + np.uint64(scheme.seed << 32)
    functions = mixed(mixed(counters + np.uint64(1))).reshape(-1, 2)
    functions[:, 0] |= np.uint64(1)
    return functions


@dataclasses.dataclass(frozen=True)
class ShingleSets:
    """The distinct shingles of documents.

    Attributes:
      values: int64 [all], ascending within a document; 47 bits of the shingles' hashes.
      offsets: int64 [documents + 1].
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def joined(cls, parts: "Iterable[ShingleSets]") -> "ShingleSets":
        """The sets of all documents of `parts`."""
        values, sizes = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)]
        for part in parts:
            values.append(part.values)
            sizes.append(np.diff(part.offsets))
        return cls(np.concatenate(values), np.cumsum(np.concatenate(sizes)))


def shingle_sets(texts: Sequence[str], scheme: MinHash) -> ShingleSets:
    """The sets of up to 2^16 texts."""
    assert len(texts) <= MOST_DOCUMENTS
    of_texts = shingles(texts, scheme)
    bits = np.uint64(_SET_BITS)
    keys = (of_texts.values >> np.uint64(64 - _SET_BITS)) | (
        of_texts.owners().view(np.uint64) << bits
    )
    keys.sort()
    keys = keys[np.flatnonzero(np.diff(keys, prepend=~keys[:1]))]
    bounds = np.searchsorted(keys, np.arange(len(texts) + 1, dtype=np.uint64) << bits)
    return ShingleSets((keys & np.uint64((1 << _SET_BITS) - 1)).view(np.int64), bounds)
