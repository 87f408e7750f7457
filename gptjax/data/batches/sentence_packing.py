"""Packing of documents into rows of one or two spans of sentences, as BERT's pretraining has it.

google-research/bert, create_pretraining_data.py, create_instances_from_document.

    places = sentence_places(split, separator)
    pairs = pack_pairs(places, room=125, short=0.1, seed=(0, 0))   # int64 [rows, 5]
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from gptjax.data.batches.token_stream import TokenizedSplit

_TRIES = 10  # to draw another document than the row's own; then it is that one


@dataclasses.dataclass(frozen=True)
class SentencePlaces:
    """Where the sentences of a token stream are, whose last tokens mark their ends.

    Attributes:
      starts, ends: places in the stream of each sentence, without its mark, int64 [S].
      documents: the first sentence of each document that has one, and S at the end, int64 [D + 1].
    """

    starts: np.ndarray
    ends: np.ndarray
    documents: np.ndarray


def sentence_places(split: TokenizedSplit, separator: int) -> SentencePlaces:
    """Finds the sentences of a split, each of which ends with the token `separator`.

    Raises:
      ValueError: there is none.
    """
    ends = np.flatnonzero(split.tokens == separator)
    if not ends.size:
        raise ValueError(f"the {split.name} has no sentence; expected text with words in it")
    starts = np.concatenate([[0], ends[:-1] + 1])
    firsts = np.unique(np.searchsorted(ends, split.document_starts))
    return SentencePlaces(starts, ends, np.append(firsts[firsts < ends.size], ends.size))


def pack_pairs(places: SentencePlaces, room: int, short: float, seed: Sequence[int]) -> np.ndarray:
    """Packs documents into rows of two parts.

    Sentences are collected until they have the number of tokens that the document aims at. The
    first few of them, a random number, are the first part. The second part is the others or, with
    probability 1/2 and wherever there are no others, sentences from a random place of another
    document; the others are then collected again.

    Args:
      places: of the sentences.
      room: tokens that the parts of a row have together, before a longer row is cut.
      short: share of the documents that aim at fewer tokens than `room`.
      seed: of all that is random; the number of the document joins it.

    Returns:
      int64 [rows, 5]: begin and end in the stream of both parts, and whether the second is random.
    """
    sizes, firsts = places.ends - places.starts, places.documents.tolist()
    rows: list[tuple[int, int, int, int, int]] = []
    for document, (at, stop) in enumerate(itertools.pairwise(firsts)):
        rng = np.random.default_rng([*seed, document])
        target, of_sentence = _target(rng, room, short), sizes[at:stop].tolist()
        begin, collected = at, 0
        while at < stop:
            collected += of_sentence[at - firsts[document]]
            at += 1
            if collected < target and at < stop:
                continue
            count = at - begin
            end = begin + (1 if count == 1 else int(rng.integers(1, count)))
            other, is_random = (end, at), count == 1 or rng.random() < 0.5
            if is_random:
                length = int(sizes[begin:end].sum())
                other = _random_part(rng, firsts, sizes, document, target - length)
                at = end  # the others are collected again
            rows.append((begin, end, other[0], other[1], int(is_random)))
            begin, collected = at, 0
    spans = np.array(rows, np.int64).reshape(-1, 5)
    spans[:, [0, 2]] = places.starts[spans[:, [0, 2]]]
    spans[:, [1, 3]] = places.ends[spans[:, [1, 3]] - 1]
    return spans


def pack_spans(places: SentencePlaces, room: int, short: float, seed: Sequence[int]) -> np.ndarray:
    """Packs documents into rows of one part, which follow each other without a gap.

    Arguments are those of `pack_pairs`, but it is rows, not documents, that aim at fewer tokens. A
    row begins where the one before ended, be it within a sentence. Second parts are empty.
    """
    rows: list[tuple[int, int, int, int, int]] = []
    for document, (at, stop) in enumerate(itertools.pairwise(places.documents.tolist())):
        rng = np.random.default_rng([*seed, document])
        begin, end = int(places.starts[at]), int(places.ends[stop - 1])
        is_mark = np.isin(np.arange(begin, end), places.ends[at:stop])
        ordinary = (begin + np.flatnonzero(~is_mark)).tolist()
        first = 0
        while first < len(ordinary):
            last = min(first + _target(rng, room, short), len(ordinary))
            rows.append((ordinary[first], ordinary[last - 1] + 1, 0, 0, 0))
            first = last
    return np.array(rows, np.int64).reshape(-1, 5)


def _target(rng: np.random.Generator, room: int, short: float) -> int:
    return int(rng.integers(2, room + 1)) if rng.random() < short else room


def _random_part(
    rng: np.random.Generator, firsts: list[int], sizes: np.ndarray, document: int, length: int
) -> tuple[int, int]:
    """Begin and end of sentences of a random document, with `length` tokens if it has them."""
    drawn = (int(rng.integers(len(firsts) - 1)) for _ in range(_TRIES))
    other = next((other for other in drawn if other != document), document)
    start = end = int(rng.integers(firsts[other], firsts[other + 1]))
    while end < firsts[other + 1] and (end == start or length > 0):
        length -= int(sizes[end])
        end += 1
    return start, end
