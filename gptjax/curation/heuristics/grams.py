"""N-grams of the words of a text that occur more than once, and how many characters they have.

    grams = grams_of(words, [2, 5])
    grams[2].top()         # (place of the most common 2-gram, how often it occurs)
    grams[5].greedy()      # characters in repeated 5-grams, as datatrove counts them

Grams are told apart by 64-bit hashes of their strings: of n of them two that differ are taken for
equal with probability n^2 / 2^65.
"""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from gptjax.curation.heuristics.words import Words


@dataclasses.dataclass(frozen=True)
class Grams:
    """All n-grams of a text, in order.

    Attributes:
      n: words of a gram.
      hashes: uint64 [grams].
      ends: int64 [words + 1], characters of the words before each.
    """

    n: int
    hashes: np.ndarray
    ends: np.ndarray

    @functools.cached_property
    def ordered(self) -> np.ndarray:
        """Hashes in order."""
        return np.sort(self.hashes)

    @functools.cached_property
    def repeats(self) -> int:
        """Number of grams that occurred before."""
        return int(np.count_nonzero(self.ordered[1:] == self.ordered[:-1]))

    @functools.cached_property
    def occurrences(self) -> int:
        """How often the most common gram occurs."""
        if not self.repeats:
            return min(self.hashes.size, 1)
        changes = np.flatnonzero(self.ordered[1:] != self.ordered[:-1])
        return int(np.diff(changes, prepend=-1, append=self.ordered.size - 1).max())

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Characters of the words of each gram, int64 [grams]."""
        return self.ends[self.n :] - self.ends[: -self.n]

    @functools.cached_property
    def longest(self) -> int:
        """Characters of the words of the longest gram."""
        return int(self.lengths.max(initial=0))

    def top(self) -> tuple[int, int]:
        """Where the most common gram is first, and how often it occurs; of several, the first."""
        _, places, occurrences = np.unique(self.hashes, return_index=True, return_counts=True)
        most = int(occurrences.max())
        return int(places[occurrences == most].min()), most

    @functools.cached_property
    def _copies(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of grams that occur more than once, in order; whether each occurred before."""
        order = np.argsort(self.hashes, kind="stable")
        same = self.hashes[order[1:]] == self.hashes[order[:-1]]
        again = np.zeros(self.hashes.size, bool)
        again[1:] = same
        several = again.copy()
        several[:-1] |= same
        places, before = order[several], again[several]
        in_text = np.argsort(places)
        return places[in_text], before[in_text]

    def greedy(self) -> int:
        """Characters of grams that occurred before; the next one begins behind one that did.

        Source: datatrove 0.10.1, `find_all_duplicate`.
        """
        seen: set[int] = set()
        free = characters = 0
        places, _ = self._copies
        for place, value in zip(places.tolist(), self.hashes[places].tolist(), strict=True):
            if place < free:
                continue
            if value in seen:
                characters += int(self.lengths[place])
                free = place + self.n
            else:
                seen.add(value)
        return characters

    def all_copies(self) -> tuple[int, int]:
        """Characters of grams that occur more than once, and of all grams.

        Source: dolma 1.2.1, `gopher.get_attributes`.
        """
        return int(self.lengths[self._copies[0]].sum()), int(self.lengths.sum())

    def overlapping(self) -> int:
        """Characters of grams that occurred before, with spaces; of overlaps the new words count.

        Source: NeMo Curator 1.4.0, `RepeatingDuplicateNGramsFilter`.
        """
        places, before = self._copies
        places = places[before]
        overlap = np.maximum(self.n - np.diff(places, prepend=-self.n), 0)
        characters = self.ends[places + self.n] - self.ends[places + overlap]
        return int((characters + np.minimum(self.n - overlap, self.n - 1)).sum())


def grams_of(words: Words, sizes: Iterable[int], spaces: bool = False) -> dict[int, Grams]:
    """N-grams of several sizes.

    Args:
      words: of a text.
      sizes: words of a gram.
      spaces: whether grams are equal where their words are; else, where the strings of their words
        are, put together without spaces.
    """
    ends = np.zeros(len(words) + 1, np.int64)
    np.cumsum(words.lengths, out=ends[1:])
    hashes = words.gram_hashes(sizes, spaces)
    return {n: Grams(n, of_size, ends) for n, of_size in hashes.items()}
