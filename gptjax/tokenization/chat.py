"""Chat tokenizer: another tokenizer, then tokens for roles, end of turn and padding.

No text becomes one of them: `encode` takes what spells them as text like any other, so that a user
cannot write a turn that is not theirs. A model trained with `chat:INNER` has rows for them from the
start; text never uses them.

    chat = load_tokenizer("chat:python_docs_1024")
    [chat.role("user"), *chat.encode("Hello"), chat.end_of_turn]
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy.typing as npt

from gptjax.registry import unknown_name
from gptjax.tokenization.byte_level_bpe import ByteLevelBPE
from gptjax.tokenization.gpt1_bpe import GPT1BPE
from gptjax.tokenization.protocol import Tokenizer, read_json
from gptjax.tokenization.raw_bytes import RawBytes
from gptjax.tokenization.sentencepiece_model import SentencePiece

ROLES = ("system", "user", "assistant")
END_OF_TURN = "<|endofturn|>"
PADDING = "<|padding|>"

INNER_KINDS: dict[str, type[Tokenizer]] = {
    kind.kind: kind for kind in (RawBytes, ByteLevelBPE, GPT1BPE, SentencePiece)
}
_FILE = "chat.json"  # {"inner": its kind, "tokens": in the order of their ids}
_TOKENS = [*(f"<|{role}|>" for role in ROLES), END_OF_TURN, PADDING]


class ChatTokenizer(Tokenizer):
    """`inner`'s ids as they are, then one id for each role, for the end of a turn, for padding."""

    kind = "chat"

    def __init__(self, inner: Tokenizer):
        """Raises ValueError where `inner` has tokens of these names."""
        if taken := sorted(inner.special_tokens.keys() & set(_TOKENS)):
            raise ValueError(f"{inner.kind} has {', '.join(taken)}; expected a tokenizer without")
        self.inner = inner
        self._names = {inner.vocab_size + i: name for i, name in enumerate(_TOKENS)}
        chat_tokens = {name: index for index, name in self._names.items()}
        self.special_tokens = inner.special_tokens | chat_tokens
        self._roles = {role: chat_tokens[f"<|{role}|>"] for role in ROLES}
        self.end_of_turn = chat_tokens[END_OF_TURN]
        self.padding = chat_tokens[PADDING]

    def role(self, name: str) -> int:
        """The id that starts a turn of `name`, one of `ROLES`; another one raises ValueError."""
        if name not in self._roles:
            raise unknown_name("role", name, ROLES)
        return self._roles[name]

    @property
    def vocab_size(self) -> int:
        """The inner vocabulary and the tokens of a chat."""
        return self.inner.vocab_size + len(_TOKENS)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads the inner tokenizer's files and which kind it is from `directory`."""
        description = read_json(directory / _FILE)
        inner = str(description.get("inner"))
        if inner not in INNER_KINDS:
            raise unknown_name(f"kind of tokenizer in {directory / _FILE}:", inner, INNER_KINDS)
        if description.get("tokens") != _TOKENS:
            got = description.get("tokens")
            raise ValueError(f"{directory / _FILE}: tokens are {got}, expected {_TOKENS}")
        return cls(INNER_KINDS[inner].load(directory))

    def files(self) -> dict[str, bytes]:
        """The inner tokenizer's files, and what it is."""
        description = {"inner": self.inner.kind, "tokens": _TOKENS}
        return {**self.inner.files(), _FILE: json.dumps(description).encode()}

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
