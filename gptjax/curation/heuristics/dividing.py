"""Ways to divide a text into words, by name.

WORDS["english"]("It's a truth.").strings(0, 5)     # ["It", "'s", "a", "truth", "."]

white_space   at white space: dolma, NeMo Curator
english       letters, marks and digits that follow each other; "'s" of "it's"; 3.14; "..."; and
              each other character; close to what spaCy makes of English
spacy         spaCy's blank English pipeline, as datatrove has it; extra `datatrove`
"""

import functools
import itertools
from collections.abc import Callable

import numpy as np

from gptjax.curation.heuristics.characters import (
    APOSTROPHE,
    DIGIT,
    INNER,
    JOINING,
    SPACE,
    classes,
    code_points,
)
from gptjax.curation.heuristics.spacy_words import spacy_words
from gptjax.curation.heuristics.words import BASE, INVERSE, Words, powers_of

_PIECE = 1 << 20  # characters that are divided at once


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

    def strings(first: int, last: int) -> list[str]:
        spans = zip(starts[first:last].tolist(), lengths[first:last].tolist(), strict=True)
        return [text[start : start + length] for start, length in spans]

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
    np.cumsum((codes + np.uint32(1)) * powers_of(INVERSE, codes.size), out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * powers_of(BASE, codes.size)[ends - 1]
    return hashes, ends - starts, np.bitwise_or.reduceat(bits, starts), starts


WORDS: dict[str, Callable[[str], Words]] = {
    "white_space": functools.partial(_divided, boundaries=_at_white_space),
    "english": functools.partial(_divided, boundaries=_english),
    "spacy": spacy_words,
}
