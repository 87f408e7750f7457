"""A tokenizer, then tokens of its own that no text spells: the marks of a chat or of a task.

`encode` takes what spells a mark as text like any other, so that no text can forge one.

    class TaskTokenizer(MarkedTokenizer): ...
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy.typing as npt

from gptjax.registry import unknown_name
from gptjax.tokenization.byte_level_bpe import ByteLevelBPE
from gptjax.tokenization.gpt1_bpe import GPT1BPE
from gptjax.tokenization.protocol import Tokenizer, read_json
from gptjax.tokenization.raw_bytes import RawBytes
from gptjax.tokenization.sentencepiece_model import SentencePiece
from gptjax.tokenization.wordpiece import WordPiece

INNER_KINDS: dict[str, type[Tokenizer]] = {
    kind.kind: kind for kind in (RawBytes, ByteLevelBPE, GPT1BPE, SentencePiece, WordPiece)
}


class MarkedTokenizer(Tokenizer):
    """`inner`'s ids as they are, then one id for each mark.

    Attributes:
      marks: their names, in the order of their ids.
      inner_kinds: what it may stand over.
      inner: the tokenizer of text.
    """

    marks: ClassVar[tuple[str, ...]]
    inner_kinds: ClassVar[Mapping[str, type[Tokenizer]]] = INNER_KINDS

    def __init__(self, inner: Tokenizer):
        """Raises ValueError where `inner` has marks, or tokens of these names."""
        if taken := sorted(inner.special_tokens.keys() & set(self.marks)):
            raise ValueError(f"{inner.kind} has {', '.join(taken)}; expected a tokenizer without")
        if inner.kind not in self.inner_kinds:
            raise ValueError(
                f"tokenizer: got the kind {inner.kind} below the marks of the kind {self.kind}, "
                f"expected one of {', '.join(self.inner_kinds)}"
            )
        self.inner = inner
        self.keeps_text = inner.keeps_text
        self._names = {inner.vocab_size + i: name for i, name in enumerate(self.marks)}
        own = {name: index for index, name in self._names.items()}
        self.special_tokens = inner.special_tokens | own

    @property
    def vocab_size(self) -> int:
        """The inner vocabulary and the marks."""
        return self.inner.vocab_size + len(self.marks)

    @property
    def end_of_text(self) -> int | None:
        """The inner tokenizer's, whatever its name."""
        return self.inner.end_of_text

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads the inner tokenizer's files and which kind it is from `directory`."""
        path, marks = directory / f"{cls.kind}.json", list(cls.marks)
        description = read_json(path)
        inner = str(description.get("inner"))
        if inner not in cls.inner_kinds:
            raise unknown_name(f"kind of tokenizer in {path}:", inner, cls.inner_kinds)
        if description.get("tokens") != marks:
            raise ValueError(f"{path}: tokens are {description.get('tokens')}, expected {marks}")
        return cls(cls.inner_kinds[inner].load(directory))

    def files(self) -> dict[str, bytes]:
        """The inner tokenizer's files, and what it is."""
        description = {"inner": self.inner.kind, "tokens": list(self.marks)}
        return {**self.inner.files(), f"{self.kind}.json": json.dumps(description).encode()}

    def _encode_ordinary(self, texts: Sequence[str]) -> Iterable[npt.ArrayLike]:
        return self.inner.encode_batch(texts)

    def _decode(self, ids: list[int]) -> str:
        parts, ordinary = [], []
        for index in ids:
            if index in self._names:
                parts += [self.inner.decode(ordinary), self._names[index]]
                ordinary = []
            else:
                ordinary.append(index)
        return "".join([*parts, self.inner.decode(ordinary)])

    def token_bytes(self, index: int) -> bytes:
        """The inner tokenizer's, or the name of a mark."""
        name = self._names.get(index)
        return self.inner.token_bytes(index) if name is None else name.encode()
