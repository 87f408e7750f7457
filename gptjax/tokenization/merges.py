"""Byte-pair encoding from a vocabulary and a list of merges, as GPT-1's and GPT-2's files hold it.

A vocabulary file is a JSON object from token to id; a merges file has one merge a line, "left
right", the earliest first (Sennrich et al., arXiv 1508.07909, section 3.2). The `tokenizers`
library applies the merges; `ByteLevelBPE` and `GPT1BPE` say how text is split into words.
"""

import abc
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy.typing as npt
import tokenizers

from gptjax.tokenization.protocol import Tokenizer, read_bytes, read_json

END_OF_WORD = "</w>"  # marks the last symbol of a word in GPT-1's vocabulary
_VERSION = "#version: 0.2"


class MergesTokenizer(Tokenizer):
    """A BPE whose special tokens are the `<names>` that neither are symbols nor come of a merge."""

    vocab_file: ClassVar[str]
    merges_file: ClassVar[str]

    def __init__(self, vocab: dict[str, int], merges: Sequence[tuple[str, str]]):
        """Raises ValueError where `vocab` (token -> id) and `merges` do not belong together."""
        _check_ids(vocab)
        products = _products(vocab, merges)
        others = {
            token: index
            for token, index in vocab.items()
            if token not in products and len(token.removesuffix(END_OF_WORD)) != 1
        }
        for token in others:
            if not (token.startswith("<") and token.endswith(">")):
                raise ValueError(f"token {token!r} comes of no merge; expected more merges")
        self.special_tokens = others
        self._vocab = dict(sorted(vocab.items(), key=lambda entry: entry[1]))
        self._merges = list(merges)
        self._library = self._pipeline(self._vocab, self._merges)

    @abc.abstractmethod
    def _pipeline(
        self, vocab: dict[str, int], merges: list[tuple[str, str]]
    ) -> tokenizers.Tokenizer:
        """The library's tokenizer, without special tokens: it would find them in any text."""

    @property
    def vocab_size(self) -> int:
        """The symbols, the merges' products and the special tokens."""
        return len(self._vocab)

    @classmethod
    def load(
        cls, directory: Path, vocab_file: str | None = None, merges_file: str | None = None
    ) -> Self:
        """Reads the vocabulary and the merges from `directory`, whatever their files are called."""
        vocab_file, merges_file = vocab_file or cls.vocab_file, merges_file or cls.merges_file
        vocab = read_json(directory / vocab_file)
        merges = _read_merges(directory / merges_file)
        try:
            return cls(vocab, merges)
        except ValueError as error:
            names = f"{vocab_file} and {merges_file}"
            raise ValueError(f"{directory}: {names} do not fit: {error}") from error

    def library(self) -> tokenizers.Tokenizer:
        """A copy of the library's tokenizer; it finds special tokens in any text."""
        library = tokenizers.Tokenizer.from_str(self._library.to_str())
        names = [tokenizers.AddedToken(name, normalized=False) for name in self.special_tokens]
        library.add_special_tokens(names)
        return library

    def files(self) -> dict[str, bytes]:
        """The vocabulary and the merges, in the format they are read from."""
        vocab = json.dumps(self._vocab, ensure_ascii=False, separators=(",", ":"))
        lines = [_VERSION, *map(" ".join, self._merges), ""]
        return {self.vocab_file: vocab.encode(), self.merges_file: "\n".join(lines).encode()}

    def _encode_ordinary(self, texts: Sequence[str]) -> Iterable[npt.ArrayLike]:
        encodings = self._library.encode_batch_fast(texts, add_special_tokens=False)
        return (encoding.ids for encoding in encodings)


def _check_ids(vocab: dict[str, int]) -> None:
    ids = list(vocab.values())
    if any(type(index) is not int for index in ids) or sorted(ids) != list(range(len(ids))):
        raise ValueError(f"the ids of {len(ids)} tokens are not 0 to {len(ids) - 1}, each once")


def _products(vocab: dict[str, int], merges: Sequence[tuple[str, str]]) -> set[str]:
    for merge in merges:
        for token in (*merge, "".join(merge)):
            if token not in vocab:
                raise ValueError(f"merge {' '.join(merge)!r} needs the token {token!r}; got none")
    return set(map("".join, merges))


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        lines = read_bytes(path).decode().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {error}; expected merges in UTF-8") from error
    merges = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#version:"):
            continue
        left, space, right = line.partition(" ")
        if not (left and space and right) or " " in right:
            raise ValueError(f"{path} line {number}: got {line[:40]!r}, expected a merge 'a b'")
        merges.append((left, right))
    return merges
