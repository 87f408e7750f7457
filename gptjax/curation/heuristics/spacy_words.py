"""Words as spaCy's blank English pipeline divides them, through a table of what it said before.

spaCy divides each run of characters without white space by itself, so that a run is the same words
wherever it stands: a table of them saves most of the time. The table changes no result.

    spacy_words("It's a truth.").strings(0, 5)    # ["It", "'s", "a", "truth", "."]
"""

import functools
import importlib
from collections.abc import Callable, Iterable
from itertools import chain

import numpy as np

from gptjax.curation.heuristics.characters import class_of
from gptjax.curation.heuristics.words import Words, hash_of

_CHUNKS = 1 << 18  # that a table holds before it begins anew


class WordTable(dict[str, tuple[int, ...]]):
    """Chunk without white space -> numbers of its words."""

    def __init__(self, split: Callable[[str], Iterable[str]]):
        """`split`: a chunk -> its words."""
        super().__init__()
        self._split = split
        self._begin()

    def _begin(self) -> None:
        self.clear()
        self._numbers: dict[str, int] = {}
        self._words: list[str] = []
        self._hashes = np.zeros(1 << 12, np.uint64)
        self._lengths = np.zeros(1 << 12, np.int64)
        self._bits = np.zeros(1 << 12, np.uint8)

    def of(self, text: str) -> Words:
        """Words of a text."""
        if len(self) > _CHUNKS:
            self._begin()
        numbers = np.fromiter(chain.from_iterable(map(self.__getitem__, text.split())), np.int64)
        words = self._words
        return Words(
            self._hashes[numbers],
            self._lengths[numbers],
            self._bits[numbers],
            lambda first, last: [words[number] for number in numbers[first:last].tolist()],
        )

    def __missing__(self, chunk: str) -> tuple[int, ...]:
        numbers = self[chunk] = tuple(map(self._number, self._split(chunk)))
        return numbers

    def _number(self, word: str) -> int:
        known = self._numbers.get(word)
        if known is not None:
            return known
        number = self._numbers[word] = len(self._words)
        self._words.append(word)
        if number == len(self._hashes):
            self._hashes = np.append(self._hashes, np.zeros_like(self._hashes))
            self._lengths = np.append(self._lengths, np.zeros_like(self._lengths))
            self._bits = np.append(self._bits, np.zeros_like(self._bits))
        bits = 0
        for character in word:
            bits |= class_of(character)
        self._hashes[number], self._lengths[number] = hash_of(word), len(word)
        self._bits[number] = bits
        return number


def spacy_words(text: str) -> Words:
    """Words of a text.

    Raises:
      ValueError: spaCy is not installed.
    """
    return _table().of(text)


@functools.cache
def _table() -> WordTable:
    try:
        spacy = importlib.import_module("spacy")
    except ImportError:
        raise ValueError(
            "words 'spacy' need the package spacy, which is not installed; expected the extra "
            "`datatrove` (pip install 'gptjax[datatrove]')"
        ) from None
    tokenizer = spacy.blank("en").tokenizer
    return WordTable(lambda chunk: [token.text for token in tokenizer(chunk)])
