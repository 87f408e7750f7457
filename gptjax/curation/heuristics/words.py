"""Words of a text as arrays, so that rules count them without a loop.

    words = WORDS["white_space"]("It is a truth universally acknowledged")    # of `dividing`
    words.characters       # 33

A word is known by its hash, a polynomial of its characters modulo 2^64, of which the hash of words
that are joined follows without a look at the text.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from gptjax.curation.heuristics.characters import PLAIN

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher, A1.1

BASE = 0x9E3779B97F4A7C15  # odd; the hash of a string is a polynomial of it, modulo 2^64
INVERSE = pow(BASE, -1, 1 << 64)
_NO_GRAMS = np.arange(64, dtype=np.uint64) + np.uint64(0xD1B54A32D192ED03)
_LONGEST_STOP_WORD = max(map(len, STOP_WORDS))


@dataclasses.dataclass(frozen=True)
class Words:
    """Words of one text, in order.

    Attributes:
      hashes: uint64 [words]; equal words have equal hashes.
      lengths: int64 [words], characters.
      bits: uint8 [words], the classes of all characters of a word, see `characters`.
      strings: the words themselves, from one to before another.
    """

    hashes: np.ndarray
    lengths: np.ndarray
    bits: np.ndarray
    strings: Callable[[int, int], list[str]]

    def __len__(self) -> int:
        return self.hashes.size

    @functools.cached_property
    def characters(self) -> int:
        """Of all words."""
        return int(self.lengths.sum())

    @functools.cached_property
    def plain(self) -> np.ndarray:
        """Lengths of the words that are not only symbols, int64."""
        return self.lengths[(self.bits & PLAIN) != 0]

    def having(self, bit: int) -> int:
        """Number of words with such a character."""
        return int(np.count_nonzero(self.bits & bit))

    def stop_words(self) -> np.ndarray:
        """How often each of `STOP_WORDS` occurs, int64 [8]."""
        short = self.hashes[self.lengths <= _LONGEST_STOP_WORD]
        return np.count_nonzero(short[:, None] == _STOP_HASHES, axis=0)

    @functools.cached_property
    def longest(self) -> int:
        """Characters of the longest word; 0 of none."""
        return int(self.lengths.max(initial=0))

    def gram_hashes(self, sizes: Sequence[int], spaces: bool) -> np.ndarray:
        """Hashes of the strings of n-grams, uint64 [sizes, words].

        A row ends in n - 1 numbers that are no hashes of grams, and differ.

        Args:
          sizes: n of each row, ascending.
          spaces: whether there is a space between the words in the strings.
        """
        powers = powers_of(BASE, self.longest + 2)
        shift, added = powers[self.lengths + spaces], self.hashes
        if spaces:
            added = self.hashes + powers[self.lengths] * np.uint64(hash_of(" "))
        found = np.empty((len(sizes), self.hashes.size), np.uint64)
        hashes, row = self.hashes, 0
        for n in range(1, max(sizes) + 1):
            if n > 1:
                hashes = hashes[:-1] * shift[n - 1 :] + added[n - 1 :]
            if n in sizes:
                found[row, : hashes.size] = hashes
                found[row, hashes.size :] = _NO_GRAMS[: found.shape[1] - hashes.size]
                row += 1
        return found


def hash_of(word: str) -> int:
    """The hash that `Words` has for a word."""
    value = 0
    for character in word:
        value = (value * BASE + ord(character) + 1) % (1 << 64)
    return value


_powers_made = {base: np.ones(1, np.uint64) for base in (BASE, INVERSE)}


def powers_of(base: int, number: int) -> np.ndarray:
    """base^0, base^1, ... modulo 2^64, uint64 [number]."""
    if _powers_made[base].size < number:
        powers = np.full(max(1 << 14, 1 << number.bit_length()), base, np.uint64)
        powers[0] = 1
        _powers_made[base] = np.multiply.accumulate(powers)
    return _powers_made[base][:number]


_STOP_HASHES = np.array([hash_of(word) for word in STOP_WORDS], np.uint64)
