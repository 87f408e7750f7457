"""Words of texts, and runs of words, as 64-bit hashes: arrays in place of sets of strings.

    words = hash_words(["The cat, the CAT!"])    # hashes of four words, two of them distinct
    runs = hash_runs(words, 2)                   # of "the cat", "cat the", "the cat"

A word is what stands between white space, in lower case and without punctuation (GPT-3, 2005.14165,
appendix C). Letters, marks and numbers of Unicode make it up; other characters are left out of it,
and where there is nothing but others there is no word.

Two different words, or runs, have the same hash with a probability of about 2^-64. A hash is the
same in every process, on every machine, and whatever texts stand beside its own.
"""

import dataclasses
import functools
import sys
import unicodedata
from collections.abc import Sequence

import numpy as np

SPACE = ord(" ")
_DROPPED = 0
_LONGEST = 1 << 15  # values of a segment that is hashed at once
_BLOCK = 1 << 15  # values that are hashed together
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse, and 5 modulo 8: of the longest period


@dataclasses.dataclass(frozen=True)
class TextHashes:
    """Hashes of what stands in each of several texts.

    Attributes:
      values: uint64 [all], in the order of the texts and within them.
      offsets: int64 [texts + 1]; text i has values[offsets[i]:offsets[i + 1]].
    """

    values: np.ndarray
    offsets: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """How many hashes each text has, int64 [texts]."""
        return np.diff(self.offsets)

    def owners(self) -> np.ndarray:
        """The number of the text of each hash, int64 [all]."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)


def hash_words(texts: Sequence[str]) -> TextHashes:
    """The words of texts, in order."""
    folded = [_folded(text) for text in texts]
    bounds = np.cumsum([1, *map(len, folded)])
    characters = np.concatenate([np.array([SPACE], np.uint8), *folded])
    of_word = characters != SPACE
    edges = np.flatnonzero(of_word[1:] != of_word[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    return TextHashes(hash_segments(characters, starts, ends), np.searchsorted(starts, bounds))


def word_spans(text: str) -> np.ndarray:
    """Where the words of a text begin and end, int64 [words, 2]: characters that count."""
    codes = np.frombuffer(f" {text} ".encode("utf-32-le", "surrogatepass"), np.uint32)
    folded = _unicode_table()[codes]
    kept = np.flatnonzero(folded != _DROPPED)
    of_word = folded[kept] != SPACE
    edges = np.flatnonzero(of_word[1:] != of_word[:-1]) + 1
    return np.stack([kept[edges[::2]] - 1, kept[edges[1::2] - 1]], 1)


def hash_runs(words: TextHashes, length: int, *, short: bool = False) -> TextHashes:
    """Every `length` words of a text that follow each other.

    Args:
      words: of texts.
      length: at least 1.
      short: whether a text of fewer words has one run, of all its words; otherwise it has none.
    """
    counts = words.counts
    runs = np.maximum(counts - length + 1, np.minimum(counts, 1) if short else 0)
    offsets = np.concatenate([[0], np.cumsum(runs)])
    starts = np.arange(offsets[-1]) + np.repeat(words.offsets[:-1] - offsets[:-1], runs)
    ends = starts + length
    if short:
        ends = np.minimum(ends, np.repeat(words.offsets[1:], runs))
    return TextHashes(hash_segments(words.values, starts, ends), offsets)


def hash_segments(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Hashes of values[starts[i]:ends[i]], uint64 [segments].

    The values are the coefficients of a polynomial modulo 2^64, whose value is then mixed. It is
    had for all segments at once as a difference of sums over everything before. A segment of more
    than 2^15 values has the hash of the hashes of its parts.

    Args:
      values: unsigned integers [all]; zeros at the end of a segment do not count.
      starts: int64 [segments], ascending.
      ends: int64 [segments], none of them before its start; segments may overlap.
    """
    long = np.flatnonzero(ends - starts > _LONGEST)
    whole, ends = ends, np.minimum(ends, starts + _LONGEST)
    powers, inverses = _powers()
    hashes = np.empty(len(starts), np.uint64)
    first = 0
    while first < len(starts):
        origin = starts[first]
        last = int(np.searchsorted(starts, origin + _BLOCK))
        begin, end = starts[first:last] - origin, ends[first:last] - origin
        stop = int(end.max())
        sums = np.zeros(stop + 1, np.uint64)
        terms = np.multiply(values[origin : origin + stop], powers[:stop], dtype=np.uint64)
        np.cumsum(terms, out=sums[1:])
        of_block = sums.take(end) - sums.take(begin)
        np.multiply(of_block, inverses.take(begin), out=hashes[first:last])
        first = last
    hashes = mixed(hashes)
    for segment in long:
        parts = np.arange(starts[segment], whole[segment], _LONGEST)
        part_ends = np.minimum(parts + _LONGEST, whole[segment])
        of_parts = hash_segments(values, parts, part_ends)
        hashes[segment] = hash_segments(of_parts, np.array([0]), np.array([len(parts)]))[0]
    return hashes


def mixed(hashes: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits that makes each bit depend on all of them (splitmix64's finaliser).

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def is_space(characters: np.ndarray) -> np.ndarray:
    """Which of some code points are white space, bool [characters]."""
    if characters.dtype == np.uint8:
        return np.frombuffer(_ascii_table()[0], np.uint8)[characters] == SPACE
    return _unicode_table()[characters] == SPACE


def folded_character(character: str) -> str:
    """What stands for a character in a word; " " for white space, "" for what is left out."""
    if character.isspace():
        return " "
    return character.lower()[0] if unicodedata.category(character)[0] in "LMN" else ""


def _folded(text: str) -> np.ndarray:
    """The characters that count, white space as SPACE, and a SPACE behind: uint8 or uint32."""
    if text.isascii():
        table, dropped = _ascii_table()
        return np.frombuffer(text.encode().translate(table, dropped) + b" ", np.uint8)
    codes = np.frombuffer(f"{text} ".encode("utf-32-le", "surrogatepass"), np.uint32)
    folded = _unicode_table()[codes]
    return folded[folded != _DROPPED]


@functools.cache
def _ascii_table() -> tuple[bytes, bytes]:
    folded = [folded_character(chr(code)) for code in range(128)]
    table = bytes(ord(character or "\0") for character in folded)
    return table + bytes(range(128, 256)), bytes(c for c in range(128) if not folded[c])


@functools.cache
def _unicode_table() -> np.ndarray:
    folded = (folded_character(chr(code)) for code in range(sys.maxunicode + 1))
    return np.fromiter((ord(c) if c else _DROPPED for c in folded), np.uint32)


@functools.cache
def _powers() -> tuple[np.ndarray, np.ndarray]:
    """Powers of the base and of its inverse, modulo 2^64."""
    bases = [_BASE, pow(_BASE, -1, 1 << 64)]
    table = np.array(bases, np.uint64)[:, None].repeat(_BLOCK + _LONGEST, 1)
    table[:, 0] = 1
    np.cumprod(table, axis=1, out=table)
    return table[0], table[1]
