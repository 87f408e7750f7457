"""Byte-pair encoding from a vocabulary and a list of merges, as GPT-1's and GPT-2's files hold it.

A vocabulary file is a JSON object from token to id; a merges file has one merge a line, "left
right", the earliest first (Sennrich et al., arXiv 1508.07909, section 3.2). The `tokenizers`
library applies the merges; `ByteLevelBPE` and `GPT1BPE` say how text is split into words.
"""

import abc
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import tokenizers

from gptjax.tokenization.added_tokens import BEGIN, END, UNKNOWN, AddedToken, AddedTokens
from gptjax.tokenization.protocol import END_OF_TEXT, Tokenizer, read_bytes, read_json

_PART = 1 << 16  # characters of a long text that are encoded as one
_CALL = 1 << 20  # characters that the library is handed at once
_WORD_END = re.compile("[!-~\u00a1-\u167f\u2070-\u2fff\u3001-\ud7ff](?=[ \n])")

END_OF_WORD = "</w>"  # marks the last symbol of a word in GPT-1's vocabulary
_VERSION = "#version: 0.2"


class MergesTokenizer(Tokenizer):
    """A BPE, whose tokens are symbols, products of merges, and added ones.

    Tokens in angle brackets that neither are symbols nor come of a merge are special, too.
    """

    vocab_file: ClassVar[str]
    merges_file: ClassVar[str]
    symbols: ClassVar[Collection[str]] = ()  # that no added token is taken for
    unknown: ClassVar[str] = END_OF_TEXT  # what stands for text outside the vocabulary

    def __init__(
        self,
        vocab: dict[str, int],
        merges: Sequence[tuple[str, str]],
        added: AddedTokens | None = None,
    ):
        """Raises ValueError where `vocab` (token -> id), `merges` and `added` do not fit."""
        added = AddedTokens() if added is None else added
        _check_ids(vocab)
        self._vocab = dict(sorted(vocab.items(), key=lambda entry: entry[1]))
        self._merges = list(merges)
        named = {token.content: token for token in added.tokens}
        for name in (*named, *added.roles.values()):
            if name not in vocab:
                raise ValueError(f"added token {name!r} has no id; expected one in the vocabulary")
        self._added = self._added_of(named, _products(vocab, merges))
        self.special_tokens = {
            name: vocab[name] for name, token in self._added.items() if token.special
        }
        usual = {BEGIN: END_OF_TEXT, END: END_OF_TEXT, UNKNOWN: self.unknown}
        usual = {role: name for role, name in usual.items() if name in self.special_tokens}
        self.roles = {**usual, **added.roles}
        self.added = AddedTokens(
            tuple(token for name, token in self._added.items() if token != implied(name)),
            {role: name for role, name in added.roles.items() if usual.get(role) != name},
            self._own_ids(added.ids),
        )
        self._library = self._pipeline(self._vocab, self._merges)
        self._found = [token for token in self._added.values() if not token.special]
        self._library.add_tokens([token.library() for token in self._found])
        self._in_parts = not any(t.rstrip or _WORD_END.search(t.content) for t in self._found)

    def _added_of(
        self, named: Mapping[str, AddedToken], products: Collection[str]
    ) -> dict[str, AddedToken]:
        """The added tokens of the vocabulary: those of `named`, and those in angle brackets."""
        found = {}
        for name in self._vocab:
            token = named.get(name) or implied(name)
            single = len(name.removesuffix(END_OF_WORD)) == 1 and name not in named
            ordinary = single or name in products or name in self.symbols
            if token is None and not ordinary:
                raise ValueError(f"token {name!r} comes of no merge; expected more merges")
            if token is not None and not (ordinary and token.special):
                found[name] = token
        return found

    def _own_ids(self, ids: Mapping[str, Mapping[str, int | list[int]]]) -> dict[str, Any]:
        """The ids of a model that are in the vocabulary and that roles do not say."""
        known = set(self._vocab.values())
        own = {
            file: {
                key: value
                for key, value in of_file.items()
                if value != self.role_id(key.removesuffix("_id"))
                and known.issuperset(value if isinstance(value, list) else [value])
            }
            for file, of_file in ids.items()
        }
        return {file: of_file for file, of_file in own.items() if of_file}

    @abc.abstractmethod
    def _pipeline(
        self, vocab: dict[str, int], merges: list[tuple[str, str]]
    ) -> tokenizers.Tokenizer:
        """The library's tokenizer, without special tokens: it would find them in any text."""

    @property
    def vocab_size(self) -> int:
        """The symbols, the merges' products and the added tokens."""
        return len(self._vocab)

    @property
    def end_of_text(self) -> int | None:
        """The id that ends a document, whatever its name."""
        return self.role_id(END)

    def role_id(self, role: str) -> int | None:
        """The id of the token of a role, such as "pad_token"; None where it has none."""
        return self._vocab[self.roles[role]] if role in self.roles else None

    @property
    def added_tokens(self) -> dict[int, AddedToken]:
        """The added tokens by id, ascending."""
        return {self._vocab[name]: token for name, token in self._added.items()}

    @classmethod
    def load(
        cls, directory: Path, vocab_file: str | None = None, merges_file: str | None = None
    ) -> Self:
        """Reads a tokenizer from `directory`, whatever its vocabulary and merges are called."""
        vocab_file, merges_file = vocab_file or cls.vocab_file, merges_file or cls.merges_file
        vocab = read_json(directory / vocab_file)
        merges = read_merges(directory / merges_file)
        added = AddedTokens.load(directory)
        try:
            return cls(vocab, merges, added)
        except ValueError as error:
            names = f"{vocab_file} and {merges_file}"
            raise ValueError(f"{directory}: {names} do not fit: {error}") from error

    def library(self) -> tokenizers.Tokenizer:
        """A copy of the library's tokenizer; it finds special tokens in any text."""
        library = tokenizers.Tokenizer.from_str(self._library.to_str())
        special = [self._added[name].library() for name in self.special_tokens]
        library.add_special_tokens(special)
        return library

    def files(self) -> dict[str, bytes]:
        """The vocabulary and the merges, in the format they are read from, and what is added."""
        vocab = json.dumps(self._vocab, ensure_ascii=False, separators=(",", ":"))
        lines = [_VERSION, *map(" ".join, self._merges), ""]
        files = {self.vocab_file: vocab.encode(), self.merges_file: "\n".join(lines).encode()}
        return files | self.added.files()

    def _encode_ordinary(self, texts: Sequence[str]) -> Iterable[npt.ArrayLike]:
        # The library takes some hundred times the memory of what it encodes at once.
        ids: list[list[np.ndarray]] = [[] for _ in texts]
        for group in _groups(texts, self._in_parts):
            encodings = self._library.encode_batch_fast(
                [part for _, part in group], add_special_tokens=False
            )
            for (number, _), encoding in zip(group, encodings, strict=True):
                ids[number].append(np.array(encoding.ids, np.int32))
        return map(np.concatenate, ids)


def _groups(texts: Sequence[str], in_parts: bool) -> Iterator[list[tuple[int, str]]]:
    """Texts or their parts with the numbers of the texts, about `_CALL` characters a group."""
    group, characters = [], 0
    for number, text in enumerate(texts):
        for part in parts_of(text) if in_parts else [text]:
            group.append((number, part))
            characters += len(part)
            if characters >= _CALL:
                yield group
                group, characters = [], 0
    yield group


def parts_of(text: str) -> Iterator[str]:
    """Cuts a text where neither kind of BPE has a token across: before a space or a newline.

    A word ends there whatever follows, and what comes before does not change how the white space
    is taken. What stands before is a visible character, so that no white space is divided.

    Yields:
      Parts of `_PART` characters or a little more; longer where a text has no such place.
    """
    start = 0
    while cut := _WORD_END.search(text, start + _PART):
        yield text[start : cut.start() + 1]
        start = cut.start() + 1
    yield text[start:]


def implied(name: str) -> AddedToken | None:
    """What a token is taken for whose vocabulary says no more than its name."""
    return AddedToken(name) if name.startswith("<") and name.endswith(">") else None


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


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The merges in a file, the earliest first; ValueError where it is missing or damaged."""
    try:
        lines = read_bytes(path).decode("utf-8-sig").split("\n")
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
