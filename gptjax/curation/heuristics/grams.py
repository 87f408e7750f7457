"""N-grams of the words of a text that occur more than once, and how many characters they have.

    top_gram(["of", "the", "end", "of", "the", "day"], 2)     # (("of", "the"), 2)

`heaviest_pair` and `covered` are bounds from hashes: most texts need no more than them.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from gptjax.curation.heuristics.words import Words


def grams_of(words: list, n: int) -> Iterable[tuple]:
    """All n-grams, in order."""
    return zip(*(words[i:] for i in range(n)), strict=False)


def top_gram(words: list[str], n: int) -> tuple[tuple[str, ...], int]:
    """The most common n-gram and how often it occurs; of several, the one that comes first.

    Args:
      words: n or more.
      n: words of a gram.
    """
    ((gram, occurrences),) = Counter(grams_of(words, n)).most_common(1)
    return gram, occurrences


def heaviest_pair(words: Words) -> tuple[int, int]:
    """Most often that a 2-gram occurs; most characters that the occurrences of one have, no spaces.

    2-grams are equal where their joined words are, so that the figures may be too large.
    """
    hashes = words.gram_hashes([2])[2]
    if not hashes.size:
        return 0, 0
    order = np.argsort(hashes)
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    occurrences = np.diff(starts, append=ordered.size)
    several = occurrences > 1
    lengths = (words.lengths[:-1] + words.lengths[1:])[order[starts[several]]]
    weights = occurrences[several] * lengths
    single = int((words.lengths[:-1] + words.lengths[1:]).max())
    return int(occurrences.max()), max(single, int(weights.max(initial=0)))


def covered(words: Words, sizes: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Characters and words in n-grams that occur more than once, for each n; overlaps count once.

    N-grams are equal where the strings of their words are, joined without spaces. A collision of
    hashes makes the figures larger, never smaller.
    """
    found = {}
    for n, hashes in words.gram_hashes(sizes).items():
        ordered = np.sort(hashes)
        again = ordered[1:][ordered[1:] == ordered[:-1]]
        if not again.size:
            found[n] = (0, 0)
            continue
        place = np.minimum(np.searchsorted(again, hashes), again.size - 1)
        several = again[place] == hashes
        steps = np.zeros(len(words) + 1, np.int64)
        steps[:-n] += several
        steps[n:] -= several
        inside = steps.cumsum()[:-1] > 0
        found[n] = int(words.lengths[inside].sum()), int(np.count_nonzero(inside))
    return found


def greedy_repeated(words: list[str], n: int) -> int:
    """Characters of n-grams that occurred before; the next one begins behind one that did.

    Source: datatrove 0.10.1, `find_all_duplicate`. Words are joined without spaces.
    """
    seen: set[str] = set()
    place = characters = 0
    while place <= len(words) - n:
        gram = "".join(words[place : place + n])
        if gram in seen:
            characters += len(gram)
            place += n
        else:
            seen.add(gram)
            place += 1
    return characters


def dolma_repeated(words: list[str], n: int) -> float:
    """Share that n-grams which occur more than once have in the characters of all n-grams.

    Source: dolma 1.2.1, `gopher.get_attributes`.
    """
    occurrences = Counter(grams_of(words, n))
    weights = [(count, count * sum(map(len, gram))) for gram, count in occurrences.items()]
    several = sum(weight for count, weight in weights if count > 1)
    return several / max(sum(weight for _, weight in weights), 1)


def nemo_repeated(words: list[str], n: int) -> int:
    """Characters of n-grams that occurred before, with spaces; of overlaps the new words count.

    Source: NeMo Curator 1.4.0, `RepeatingDuplicateNGramsFilter`.
    """
    seen: set[tuple[str, ...]] = set()
    characters = overlap = 0
    for gram in grams_of(words, n):
        if gram in seen:
            characters += sum(map(len, gram[overlap:])) + min(n - overlap, n - 1)
            overlap = n
        seen.add(gram)
        overlap = max(overlap - 1, 0)
    return characters
