"""Added tokens: those that a tokenizer has besides symbols and merges, and what they are for.

The fields are those of `tokenizers.AddedToken` and of the special tokens of `transformers`. GPT-2's
and GPT-1's own files need no such record: tokens in angle brackets are special there, and
`<|endoftext|>` begins and ends a text.

    AddedTokens((AddedToken("[PAD]"),), {"pad_token": "[PAD]"})
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import tokenizers

from gptjax.tokenization.protocol import read_json

FILE = "special_tokens.json"
BEGIN, END, UNKNOWN, PAD = "bos_token", "eos_token", "unk_token", "pad_token"
ROLES = (BEGIN, END, UNKNOWN, "sep_token", PAD, "cls_token", "mask_token")


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that text is split at before it is split into words.

    Attributes:
      content: how it is written.
      special: whether text that spells it stays text; if not, it is found in any text.
      lstrip: whether it takes in white space on its left.
      rstrip: whether it takes in white space on its right.
      single_word: whether it is found only where it is no part of a word.
      normalized: whether it is looked for in the normalized text.
    """

    content: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False

    def library(self) -> tokenizers.AddedToken:
        """The same of the library."""
        return tokenizers.AddedToken(**dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class AddedTokens:
    """What files of a vocabulary and of merges do not say.

    Attributes:
      tokens: special ones in angle brackets, without options, need not be among them.
      roles: the token of each of ROLES, but for what is so by default.
      ids: by file of a model directory, ids that its model has for `bos_token_id`, `eos_token_id`
        and `pad_token_id` and that differ from those of `roles`: an id, or a list of them.
    """

    tokens: tuple[AddedToken, ...] = ()
    roles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ids: Mapping[str, Mapping[str, int | list[int]]] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads FILE; where there is none, nothing is added. ValueError where it is damaged."""
        path = directory / FILE
        if not path.exists():
            return cls()
        content = read_json(path)
        try:
            tokens = tuple(AddedToken(**token) for token in content["tokens"])
            return cls(tokens, dict(content["roles"]), dict(content["ids"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}; expected tokens, roles and ids") from error

    def files(self) -> dict[str, bytes]:
        """FILE and its content; no file where nothing is added."""
        described: dict[str, Any] = dataclasses.asdict(self)
        content = {FILE: json.dumps(described, sort_keys=True).encode()}
        return content if any(described.values()) else {}
