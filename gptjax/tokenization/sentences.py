"""Sentences of a text, and token streams that keep where they end.

A sentence ends after `.`, `!` or `?`, and the quotation marks and brackets that close after it, if
white space follows and no small letter; not after an initial or an abbreviation such as "Mr."; and
at a blank line. Or else each line is a sentence, as in the files that google-research/bert reads.

    sentences("Mr. Ito came. He sat down.")      # ["Mr. Ito came. ", "He sat down."]
    prepare(corpus, SentenceTokenizer(tokenizer, "[SEP]"), cache, 0.05)
"""

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from gptjax.tokenization.protocol import Tokenizer, read_json
from gptjax.tokenization.wordpiece import WordPiece

_ENDS = re.compile(r"""[.!?]+["'”’»)\]]*\s+|[。！？]+["”’」』）]*|\n[ \t\r]*\n\s*""")
_OPENING = "\"'“‘«([_*"
_ABBREVIATIONS = frozenset(
    ("Mr", "Mrs", "Ms", "Dr", "St", "Prof", "Rev", "Capt", "Col", "Gen", "Lt", "Hon", "Jr", "vs")
)
_RULES = 1  # to be raised with any change of where sentences end
_FILE = "sentences.json"


def sentences(text: str) -> list[str]:
    """The sentences of `text`, each with the white space after it; together they are the text."""
    cuts = [0]
    for end in _ENDS.finditer(text):
        if end[0].isspace() or not end[0][-1].isspace() or _ends_here(text, end):
            cuts.append(end.end())
    cuts.append(len(text))
    parts = (text[a:b] for a, b in itertools.pairwise(cuts))
    return [part for part in parts if part.strip()]


def _ends_here(text: str, end: re.Match[str]) -> bool:
    follows = text[end.end() : end.end() + 8].lstrip(_OPENING)[:1]
    if follows.islower():
        return False
    before = re.search(r"\w+$", text[max(0, end.start() - 12) : end.start()])
    word = before[0] if before and end[0].startswith(".") else ""
    return not (word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "I"))


class SentenceTokenizer(Tokenizer):
    """WordPiece, with a token after each sentence.

    Text is encoded sentence by sentence, so that no token crosses from one to the next.
    """

    kind = "sentences"

    def __init__(self, inner: WordPiece, separator: str, *, lines: bool = False):
        """Makes it.

        Args:
          inner: what encodes sentences.
          separator: the name of its special token that is to end them.
          lines: whether each line is a sentence.
        """
        self.special_tokens = inner.special_tokens
        self.separator = inner.special_tokens[separator]
        self._inner = inner
        self._description = {"separator": separator, "lines": lines, "rules": _RULES}

    @property
    def vocab_size(self) -> int:
        """That of the inner tokenizer."""
        return self._inner.vocab_size

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads the inner tokenizer's files and what ends a sentence from `directory`."""
        description = read_json(directory / _FILE)
        inner = WordPiece.load(directory)
        separator, lines = str(description.get("separator")), description.get("lines") is True
        expected = {"separator": separator, "lines": lines, "rules": _RULES}
        if description != expected or separator not in inner.special_tokens:
            raise ValueError(
                f"{directory / _FILE}: got {description}, expected the name of a special token as "
                f"separator, lines, true or false, and rules = {_RULES}"
            )
        return cls(inner, separator, lines=lines)

    def files(self) -> dict[str, bytes]:
        """Those of the inner tokenizer, and what ends a sentence."""
        return {**self._inner.files(), _FILE: json.dumps(self._description).encode()}

    def _encode_ordinary(self, texts: Sequence[str]) -> Iterable[npt.ArrayLike]:
        parts = [
            text.splitlines() if self._description["lines"] else sentences(text) for text in texts
        ]
        encoded = iter(self._inner.encode_batch([part for of_text in parts for part in of_text]))
        for of_text in parts:
            ended = [
                token
                for ids in (next(encoded) for _ in of_text)
                if ids.size
                for token in (ids, [self.separator])
            ]
            yield np.concatenate([np.zeros(0, np.int32), *ended])

    def _decode(self, ids: list[int]) -> str:
        return self._inner.decode(ids)
