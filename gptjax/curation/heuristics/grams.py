"""N-grams of the words of a text that occur more than once, and how many characters they have.

    top_gram(words, 2)                 # (("of", "the"), 12)
    greedy_repeated(words.strings(), 5)   # characters

`covered` is a bound on them from hashes, for all n at once: most texts need no more than it.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from gptjax.curation.heuristics.words import LENGTH, Words


def grams_of(words: list, n: int) -> Iterable[tuple]:
    """All n-grams, in order."""
    return zip(*(words[i:] for i in range(n)), strict=False)


def top_gram(words: Words, n: int) -> tuple[tuple[str, ...], int]:
    """The most common n-gram and how often it occurs; of several, the one that comes first.

    Args:
      words: n or more.
      n: words of a gram.
    """
    (ids, occurrences), *_ = Counter(grams_of(words.ids.tolist(), n)).most_common(1)
    return tuple(words.table.words[word] for word in ids), occurrences


def covered(words: Words, sizes: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Characters and words in the n-grams that occurred before, for each n; overlaps count once.

    N-grams are equal where the strings of their words are, joined without spaces. A collision of
    hashes makes the figures larger, never smaller.
    """
    found = {}
    for n, hashes in words.gram_hashes(sizes).items():
        ordered = np.sort(hashes)
        if not (ordered[1:] == ordered[:-1]).any():
            found[n] = (0, 0)
            continue
        again = np.ones(hashes.size, bool)
        again[np.unique(hashes, return_index=True)[1]] = False
        steps = np.zeros(len(words) + 1, np.int64)
        steps[:-n] += again
        steps[n:] -= again
        inside = steps.cumsum()[:-1] > 0
        found[n] = int(words.counts[inside, LENGTH].sum()), int(inside.sum())
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


def dolma_repeated(words: Words, n: int) -> float:
    """Share that n-grams which occur more than once have in the characters of all n-grams.

    Source: dolma 1.2.1, `gopher.get_attributes`.
    """
    lengths = words.counts[:, LENGTH].astype(np.int64)
    of_grams = np.convolve(lengths, np.ones(n, np.int64), "valid")
    grams = list(grams_of(words.ids.tolist(), n))
    occurrences = Counter(grams)
    several = np.fromiter((occurrences[gram] > 1 for gram in grams), bool, len(grams))
    return int(of_grams[several].sum()) / max(int(of_grams.sum()), 1)


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
