"""N-grams of the words of a text that occur more than once, and how many characters they have.

    grams = Grams(words, range(2, 11), spaces=True)
    grams.top(2)          # (place of the most common 2-gram, how often it occurs)
    grams.greedy(5)       # characters in repeated 5-grams, as datatrove counts them

Grams are told apart by 64-bit hashes of their strings: of n of them two that differ are taken for
equal with probability n^2 / 2^65.
"""

from collections.abc import Sequence

import numpy as np

from gptjax.curation.heuristics.words import Words


class Grams:
    """All n-grams of a text, of several sizes."""

    def __init__(self, words: Words, sizes: Sequence[int], spaces: bool):
        """Hashes and sorts all of them.

        Args:
          words: of a text.
          sizes: words of a gram, each n in turn.
          spaces: whether grams are equal where their words are; else, where the strings of their
            words are, put together without spaces.
        """
        self._rows = {n: row for row, n in enumerate(sizes)}
        self._number = len(words)
        self._ends = np.zeros(len(words) + 1, np.int64)
        np.cumsum(words.lengths, out=self._ends[1:])
        self._hashes = words.gram_hashes(sizes, spaces)
        self._ordered = np.sort(self._hashes, axis=1)
        self._same = self._ordered[:, 1:] == self._ordered[:, :-1]
        self._repeats = np.count_nonzero(self._same, axis=1).tolist()

    def number(self, n: int) -> int:
        """Number of n-grams."""
        return max(self._number - n + 1, 0)

    def hashes(self, n: int) -> np.ndarray:
        """Hashes in the order of the text, uint64 [number]."""
        return self._hashes[self._rows[n], : self.number(n)]

    def repeats(self, n: int) -> int:
        """Number of n-grams that occurred before."""
        return self._repeats[self._rows[n]]

    def occurrences(self, n: int) -> int:
        """How often the most common n-gram occurs."""
        if not self.repeats(n):
            return min(self.number(n), 1)
        ends = np.flatnonzero(~self._same[self._rows[n]])
        inner = int(np.diff(ends).max(initial=0)) if ends.size else 0
        first = int(ends[0]) + 1 if ends.size else self._ordered.shape[1]
        last = self._ordered.shape[1] - 1 - int(ends[-1]) if ends.size else 0
        return max(first, inner, last)

    def lengths(self, n: int) -> np.ndarray:
        """Characters of the words of each n-gram, int64 [number]."""
        return self._ends[n:] - self._ends[:-n]

    def top(self, n: int) -> tuple[int, int]:
        """Where the most common n-gram is first, and how often it occurs; of several, the first."""
        _, places, occurrences = np.unique(self.hashes(n), return_index=True, return_counts=True)
        most = int(occurrences.max())
        return int(places[occurrences == most].min()), most

    def copies(self, n: int) -> np.ndarray:
        """Places of n-grams that occur more than once, in order."""
        row, hashes = self._rows[n], self.hashes(n)
        several = self._ordered[row, 1:][self._same[row]]
        if not several.size:
            return np.zeros(0, np.int64)
        at = np.minimum(np.searchsorted(several, hashes), several.size - 1)
        return np.flatnonzero(several[at] == hashes)

    def greedy(self, n: int) -> int:
        """Characters of n-grams that occurred before; the next one begins behind one that did.

        Source: datatrove 0.10.1, `find_all_duplicate`.
        """
        places, free, characters = self.copies(n), 0, 0
        seen: set[int] = set()
        values, lengths = self.hashes(n)[places].tolist(), self.lengths(n)[places].tolist()
        for place, value, length in zip(places.tolist(), values, lengths, strict=True):
            if place < free:
                continue
            if value in seen:
                characters, free = characters + length, place + n
            else:
                seen.add(value)
        return characters

    def all_copies(self, n: int) -> tuple[int, int]:
        """Characters of n-grams that occur more than once, and of all n-grams.

        Source: dolma 1.2.1, `gopher.get_attributes`.
        """
        lengths = self.lengths(n)
        return int(lengths[self.copies(n)].sum()), int(lengths.sum())

    def overlapping(self, n: int) -> int:
        """Characters of n-grams that occurred before, with spaces; of overlaps the new words count.

        Source: NeMo Curator 1.4.0, `RepeatingDuplicateNGramsFilter`.
        """
        places = self.copies(n)
        _, first = np.unique(self.hashes(n)[places], return_index=True)
        places = np.delete(places, first)
        overlap = np.maximum(n - np.diff(places, prepend=-n), 0)
        characters = self._ends[places + n] - self._ends[places + overlap]
        return int((characters + np.minimum(n - overlap, n - 1)).sum())
