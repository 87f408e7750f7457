"""Protocol of tokenizers: each encodes, decodes, saves itself, and is compared with others.

A kind of tokenizer subclasses `Tokenizer`, says what files hold it, and is listed in
`loading.KINDS`.

    tokenizer.decode(tokenizer.encode("Hello"))
"""

import abc
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from gptjax.registry import unknown_name

END_OF_TEXT = "<|endoftext|>"
KIND_FILE = "kind.json"  # {"kind": ..., "content_hash": of the files beside it}


class Tokenizer(abc.ABC):
    """A vocabulary of ids 0..vocab_size-1, and the way between them and text."""

    kind: ClassVar[str]  # its name in saved directories
    encoding_errors: ClassVar[str] = "strict"  # "surrogateescape": takes bytes that are no UTF-8
    keeps_text: bool = False  # whether decoding gives every text back
    special_tokens: dict[str, int]  # name -> id; text spells them only where that is allowed

    @property
    @abc.abstractmethod
    def vocab_size(self) -> int:
        """The number of ids, special tokens included."""

    @property
    def end_of_text(self) -> int | None:
        """The id that ends a document; None where the vocabulary has none."""
        return self.special_tokens.get(END_OF_TEXT)

    @classmethod
    @abc.abstractmethod
    def load(cls, directory: Path) -> Self:
        """Reads this kind's files, as `save` writes them, from `directory`."""

    @abc.abstractmethod
    def files(self) -> dict[str, bytes]:
        """All that defines this tokenizer, as file name -> content, independent of its origin."""

    @abc.abstractmethod
    def _encode_ordinary(self, texts: Sequence[str]) -> Iterable[npt.ArrayLike]:
        """The ids of each text, special tokens in it taken as text."""

    @abc.abstractmethod
    def _decode(self, ids: list[int]) -> str:
        """The text of `ids`, all of them within the vocabulary."""

    def encode(self, text: str, *, allowed_special: Iterable[str] = ()) -> np.ndarray:
        """Turns text into ids.

        Args:
          text: Any Unicode text without lone surrogates.
          allowed_special: The special tokens that stand for their id where they occur in
            `text`; all others are text like any other.

        Returns:
          The ids, int32 [tokens].

        Raises:
          ValueError: For a lone surrogate, or a name that is not among `special_tokens`.
        """
        allowed = sorted(allowed_special, key=len, reverse=True)
        for name in allowed:
            if name not in self.special_tokens:
                raise unknown_name("special token", name, self.special_tokens)
        if not allowed:
            return self.encode_batch([text])[0]
        parts = re.split(f"({'|'.join(map(re.escape, allowed))})", text)
        ids: list[npt.ArrayLike] = []
        for ordinary, special in zip(
            self.encode_batch(parts[::2]), [*parts[1::2], None], strict=True
        ):
            ids.append(ordinary)
            if special is not None:
                ids.append(np.array([self.special_tokens[special]], np.int32))
        return np.concatenate(ids)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Turns many texts into ids, on all cores where the library behind can.

        Args:
          texts: Texts without lone surrogates; special tokens in them are taken as text.

        Returns:
          The ids of each text, int32 [tokens].

        Raises:
          ValueError: For a lone surrogate.
        """
        texts = list(well_formed(texts, self.encoding_errors))
        return [np.asarray(ids, np.int32) for ids in self._encode_ordinary(texts)]

    def decode(self, ids: npt.ArrayLike) -> str:
        """Turns ids into text.

        Args:
          ids: Token ids, integers [tokens].

        Returns:
          Their text: special tokens by name, bytes that are not UTF-8 as U+FFFD.

        Raises:
          ValueError: For anything but a sequence of ids within the vocabulary.
        """
        ids = np.asarray(ids)
        if ids.size == 0:
            return ""
        if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"token ids: got {ids.dtype}{list(ids.shape)}, expected integers [n]")
        outside = ids[(ids < 0) | (ids >= self.vocab_size)]
        if outside.size:
            raise ValueError(f"token id {outside[0]}: expected 0 to {self.vocab_size - 1}")
        return self._decode(ids.tolist())

    def token_bytes(self, index: int) -> bytes:
        """What a token adds to a text that it does not begin, in UTF-8, whole characters or not.

        Raises:
          ValueError: no id of the vocabulary.
        """
        alone = self.decode([index])
        return self.decode([index, index])[len(alone) :].encode()

    def decoded_bytes(self, ids: np.ndarray) -> int:
        """The UTF-8 bytes of the text that `ids`, integers [tokens], decode to."""
        return len(self.decode(ids).encode())

    def save(self, directory: str | Path) -> None:
        """Writes all that `load_tokenizer` needs into `directory`, made where it is missing."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            (directory / name).write_bytes(content)
        description = {"kind": self.kind, "content_hash": self.content_hash()}
        (directory / KIND_FILE).write_text(json.dumps(description) + "\n", encoding="utf-8")

    def content_hash(self) -> str:
        """SHA-256 (hex) of what defines this tokenizer: equal for equal tokenizers, anywhere."""
        digest = hashlib.sha256(self.kind.encode())
        for name, content in sorted(self.files().items()):
            digest.update(f"\n{name} {len(content)}\n".encode())
            digest.update(content)
        return digest.hexdigest()


def well_formed(texts: Iterable[str], errors: str = "strict") -> Iterator[str]:
    """Yields `texts`; a lone surrogate, which UTF-8 cannot hold, raises ValueError.

    Under `errors="surrogateescape"` those pass that stand for a byte.
    """
    for text in texts:
        try:
            text.encode(errors=errors)
        except UnicodeEncodeError as error:
            found = f"U+{ord(text[error.start]):04X} at character {error.start}"
            raise ValueError(
                f"text has a lone surrogate, {found}; expected valid Unicode"
            ) from None
        yield text


def read_bytes(path: Path) -> bytes:
    """The content of a tokenizer's file; a missing or unreadable one raises ValueError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"cannot read {path}: {error.strerror}; expected a tokenizer file"
        ) from error


def read_json(path: Path) -> dict:
    """The JSON object in a tokenizer's file; anything else raises ValueError."""
    try:
        content = json.loads(read_bytes(path).decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: {error}; expected a JSON object in UTF-8") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: got a JSON {type(content).__name__}, expected an object")
    return content
