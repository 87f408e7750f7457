"""Words of a text as arrays, so that rules count them without a loop.

    words = WORDS["white_space"]("It is a truth universally acknowledged")
    words.lengths.sum()    # 33 characters

How a text is divided, by name:

    white_space   at white space: dolma, NeMo Curator
    english       letters, marks and digits that follow each other; "'s" of "it's"; 3.14; "..."; and
                  each other character; close to what spaCy makes of English
    spacy         spaCy's blank English pipeline, as datatrove has it; extra `datatrove`
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable

import numpy as np

from gptjax.curation.heuristics.characters import (
    APOSTROPHE,
    DIGIT,
    INNER,
    JOINING,
    PLAIN,
    SPACE,
    classes,
    code_points,
)

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher, A1.1

_BASE = 0x9E3779B97F4A7C15  # odd; the hash of a string is a polynomial of it, modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)
_PIECE = 1 << 20  # characters that are divided at once


@dataclasses.dataclass(frozen=True)
class Words:
    """Words of one text, in order.

    Attributes:
      hashes: uint64 [words]; equal words have equal hashes.
      lengths: int64 [words], characters.
      bits: uint8 [words], the classes of all characters of a word, see `characters`.
      strings: the words themselves.
    """

    hashes: np.ndarray
    lengths: np.ndarray
    bits: np.ndarray
    strings: Callable[[], list[str]]

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
        """Hashes of the words that are one of `STOP_WORDS`, in order."""
        short = self.hashes[self.lengths <= 4]
        return short[np.isin(short, _STOP_HASHES)]

    def gram_hashes(self, sizes: Iterable[int]) -> dict[int, np.ndarray]:
        """Hashes of n-grams whose words are joined without spaces, uint64 [words - n + 1] each.

        Equal strings have equal hashes. Different ones may have: who must know looks at the words.
        """
        wanted, found = set(sizes), {}
        hashes, powers = self.hashes, _powers(_BASE, int(self.lengths.max(initial=0)) + 1)
        shift = powers[self.lengths]
        for n in range(2, min(max(wanted), self.hashes.size) + 1):
            hashes = hashes[:-1] * shift[n - 1 :] + self.hashes[n - 1 :]
            if n in wanted:
                found[n] = hashes
        return {n: found.get(n, self.hashes[:0]) for n in wanted}


def hash_of(word: str) -> int:
    """The hash that `Words` has for a word."""
    value = 0
    for character in word:
        value = (value * _BASE + ord(character) + 1) % (1 << 64)
    return value


def _at_white_space(codes: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where words begin, bool; where their characters are, bool."""
    inside = (bits & SPACE) == 0
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    return begins, inside


def _english(codes: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside = (bits & SPACE) == 0
    inner, digit = (bits & INNER) != 0, (bits & DIGIT) != 0
    goes_on = np.zeros(codes.size, bool)
    goes_on[1:] = inner[1:] & inner[:-1]
    # A point or a dash after the same; a point between digits, and what is behind it.
    same = codes[1:] == codes[:-1]
    goes_on[1:] |= same & ((codes[1:] == ord(".")) | (codes[1:] == ord("-")))
    joins = ((bits[1:-1] & JOINING) != 0) & digit[:-2] & digit[2:]
    goes_on[1:-1] |= joins
    goes_on[2:] |= joins
    # An apostrophe in a word begins the next one.
    goes_on[2:] |= ((bits[1:-1] & APOSTROPHE) != 0) & inner[:-2] & inner[2:]
    return inside & ~goes_on, inside


def _divided(text: str, boundaries: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Words:
    """Words of a text, in pieces so that memory is bounded."""
    cuts = _cuts(text)
    made = [_piece(text[i:j], boundaries) for i, j in itertools.pairwise(cuts)]
    if len(made) == 1:
        (hashes, lengths, bits, starts) = made[0]
    else:
        hashes, lengths, bits = (np.concatenate([piece[k] for piece in made]) for k in range(3))
        starts = np.concatenate([at + piece[3] for at, piece in zip(cuts, made, strict=False)])

    def strings() -> list[str]:
        spans = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
        return [text[start:end] for start, end in spans]

    return Words(hashes, lengths, bits, strings)


def _cuts(text: str) -> list[int]:
    """Where pieces begin, and the end; at spaces where there are some."""
    cuts = [0]
    while len(text) - cuts[-1] > _PIECE:
        space = text.rfind(" ", cuts[-1] + 1, cuts[-1] + _PIECE)
        cuts.append(space if space > 0 else cuts[-1] + _PIECE)
    return [*cuts, len(text)]


def _piece(text: str, boundaries: Callable[..., tuple[np.ndarray, np.ndarray]]):
    codes = code_points(text)
    bits = classes(codes)
    begins, inside = boundaries(codes, bits)
    starts = np.flatnonzero(begins)
    if not starts.size:
        return np.zeros(0, np.uint64), starts, np.zeros(0, np.uint8), starts
    # The character behind a word: white space, or where the next begins.
    stops = begins | ~inside
    ends = np.flatnonzero(stops[1:] & inside[:-1]) + 1
    if inside[-1]:
        ends = np.append(ends, codes.size)
    # Sum of c_j B^-j up to each character; a difference times a power of B is the hash of a word.
    sums = np.zeros(codes.size + 1, np.uint64)
    np.cumsum((codes + np.uint32(1)) * _powers(_INVERSE, codes.size), out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * _powers(_BASE, codes.size)[ends - 1]
    return hashes, ends - starts, np.bitwise_or.reduceat(bits, starts), starts


@functools.lru_cache(maxsize=4)
def _powers_up_to(base: int, size: int) -> np.ndarray:
    powers = np.full(size, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


def _powers(base: int, number: int) -> np.ndarray:
    """base^0, base^1, ... modulo 2^64, uint64 [number]."""
    return _powers_up_to(base, max(1 << 14, 1 << (number - 1).bit_length()))[:number]


_STOP_HASHES = np.array([hash_of(word) for word in STOP_WORDS], np.uint64)


def _spacy(text: str) -> Words:
    # Imports spaCy, which only this way to divide needs.
    from gptjax.curation.heuristics.spacy_words import spacy_words

    return spacy_words(text)


WORDS: dict[str, Callable[[str], Words]] = {
    "white_space": functools.partial(_divided, boundaries=_at_white_space),
    "english": functools.partial(_divided, boundaries=_english),
    "spacy": _spacy,
}
