"""Words of a text as numbers, by a table that grows: what all rules count is looked up, not made.

A text is cut at white space, and each chunk is split into words once: the table keeps which words
they are, and what each word counts for. A chunk splits the same wherever it stands, which is true
of spaCy's tokenizers too; the table changes the time, never a result.

    words = WORDS["white_space"].of("It is a truth universally acknowledged")
    words.total(LENGTH)   # 33 characters

How a chunk is split, by name:

    white_space   not at all: dolma, NeMo Curator
    english       punctuation, "n't" and "'s" are words of their own; close to spaCy's English
    spacy         spaCy's blank English pipeline, as datatrove has it; needs the package spacy
"""

import dataclasses
import functools
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from unicodedata import category

import numpy as np

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # ids 0 to 7, Gopher, A1.1

# What a word counts for: columns of the table.
LENGTH, PLAIN, PLAIN_LENGTH, ALPHABETIC, MARKED, SYMBOL, ENDING, PUNCTUATION = range(8)

_CHUNKS = 1 << 18  # that a table holds before it begins anew
_BASE = 0x9E3779B97F4A7C15 | 1  # of the polynomial whose value is the hash of a string
_MASK = (1 << 64) - 1

# datatrove 0.10.1, utils/text.py, PUNCTUATION: a word of nothing else is a symbol.
_SYMBOLS = frozenset(
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
).union(map(chr, (*range(9), 11, 12, *range(13, 32), *range(127, 160))))
# NeMo Curator 1.4.0, stages/text/utils/constants.py, ellipsis_marks without those of two words.
_ELLIPSES = frozenset({"...", "[...]", "…", "(...)", "[…]", "-»"})

# Unicode's property Sentence_Terminal with three Khmer marks, as datatrove 0.10.1 has it in
# TERMINAL_PUNCTUATION and, but for the newest scripts, spaCy in its sentencizer: code points.
TERMINAL = frozenset(
    chr(code)
    for span in (
        "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 "
        "166e 1735-1736 17d4-17d6 17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f "
        "1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c 2e53-2e54 3002 a4ff "
        "a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 "
        "fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 "
        "110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 "
        "1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 "
        "11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 "
        "16e98 1bc9f 1da88"
    ).split()
    for code in range(int(span.partition("-")[0], 16), int(span.rpartition("-")[2], 16) + 1)
)

_ENGLISH = re.compile(
    r"\d+(?:[.,:]\d+)*|\w+(?=n['’]t\b)|n['’]t\b|['’](?:s|m|d|re|ve|ll)\b|(?:\w\.){2,}|\w+|\.{2,}|.",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Words:
    """Words of one text, in order.

    Attributes:
      ids: int64 [words], rows of the table; those of `STOP_WORDS` are 0 to 7.
      counts: int32 [words, 8], what each counts for: the columns `LENGTH` to `PUNCTUATION`.
      table: it has the words themselves.
    """

    ids: np.ndarray
    counts: np.ndarray
    table: "WordTable"

    def __len__(self) -> int:
        return self.ids.size

    @functools.cached_property
    def totals(self) -> np.ndarray:
        """Sums of the columns, int64 [8]."""
        return self.counts.sum(axis=0, dtype=np.int64)

    def total(self, column: int) -> int:
        """Sum of a column over all words."""
        return int(self.totals[column])

    def strings(self) -> list[str]:
        """The words."""
        return [self.table.words[word] for word in self.ids.tolist()]

    @functools.cached_property
    def heaviest(self) -> tuple[int, int]:
        """Most often that a word occurs; most characters that the occurrences of one word have."""
        if not self.ids.size:
            return 0, 0
        ordered = np.sort(self.ids)
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        occurrences = np.diff(starts, append=ordered.size)
        lengths = self.table.columns[ordered[starts], LENGTH]
        return int(occurrences.max()), int((occurrences * lengths).max())

    def gram_hashes(self, sizes: Iterable[int]) -> dict[int, np.ndarray]:
        """Hashes of n-grams whose words are joined without spaces, uint64 [words - n + 1] each.

        Equal strings have equal hashes. Different ones may have: who must know looks at the words.
        """
        wanted, found = set(sizes), {}
        values, powers = self.table.values[self.ids], self.table.powers[self.ids]
        hashes = values
        for n in range(2, min(max(wanted), values.size) + 1):
            hashes = hashes[:-1] * powers[n - 1 :] + values[n - 1 :]
            if n in wanted:
                found[n] = hashes
        return {n: found.get(n, values[:0]) for n in wanted}


class WordTable(dict[str, tuple[int, ...]]):
    """Chunk -> ids of its words. One process has one for each way to split."""

    def __init__(self, split: Callable[[str], Iterable[str]]):
        """`split`: a chunk without white space -> its words."""
        super().__init__()
        self._split = split
        self._begin()

    def _begin(self) -> None:
        self.clear()
        self.words: list[str] = []
        self._ids: dict[str, int] = {}
        self.columns = np.zeros((1 << 12, 8), np.int32)
        self.values = np.zeros(1 << 12, np.uint64)
        self.powers = np.zeros(1 << 12, np.uint64)
        for word in STOP_WORDS:
            self._id(word)

    def of(self, text: str) -> Words:
        """Splits a text."""
        if len(self) > _CHUNKS:
            self._begin()
        ids = chain.from_iterable(map(self.__getitem__, text.split()))
        array = np.fromiter(ids, np.int64)
        return Words(array, self.columns[array], self)

    def __missing__(self, chunk: str) -> tuple[int, ...]:
        ids = self[chunk] = tuple(map(self._id, self._split(chunk)))
        return ids

    def _id(self, word: str) -> int:
        known = self._ids.get(word)
        if known is not None:
            return known
        row = self._ids[word] = len(self.words)
        self.words.append(word)
        if row == len(self.values):
            self.columns = np.concatenate([self.columns, np.zeros_like(self.columns)])
            self.values = np.concatenate([self.values, self.values])
            self.powers = np.concatenate([self.powers, self.powers])
        self.columns[row] = _counts_for(word)
        value = 0
        for character in word:
            value = value * _BASE + ord(character) + 1 & _MASK
        self.values[row], self.powers[row] = value, pow(_BASE, len(word), 1 << 64)
        return row


def _counts_for(word: str) -> tuple[int, ...]:
    plain = not _SYMBOLS.issuperset(word)
    hashes = word.count("#")
    return (
        len(word),
        plain,
        len(word) if plain else 0,
        any(map(str.isalpha, word)),
        hashes > 0 or "…" in word,
        word in _ELLIPSES or 2 * hashes > len(word),
        word in TERMINAL,
        all(category(character)[0] == "P" for character in word),
    )


def _spacy_split() -> Callable[[str], Iterable[str]]:
    try:
        spacy = importlib.import_module("spacy")
    except ImportError:
        raise ValueError(
            "words 'spacy' need the package spacy, which is not installed; expected the extra "
            "`datatrove` (pip install 'gptjax[datatrove]')"
        ) from None
    tokenizer = spacy.blank("en").tokenizer
    return lambda chunk: [token.text for token in tokenizer(chunk)]


class _Tables(Mapping[str, WordTable]):
    """Tables by name, each made when it is first wanted."""

    _splits: Mapping[str, Callable[[], Callable[[str], Iterable[str]]]] = {
        "white_space": lambda: lambda chunk: (chunk,),
        "english": lambda: _ENGLISH.findall,
        "spacy": _spacy_split,
    }

    def __init__(self):
        self._made: dict[str, WordTable] = {}

    def __getitem__(self, name: str) -> WordTable:
        if name not in self._made:
            self._made[name] = WordTable(self._splits[name]())
        return self._made[name]

    def __iter__(self):
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)


WORDS = _Tables()
