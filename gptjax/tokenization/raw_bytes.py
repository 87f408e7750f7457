"""Raw bytes: the UTF-8 bytes of a text are its tokens; 256 ids, none of them special.

Bytes that are no UTF-8, such as those of an image, pass where `surrogateescape` (PEP 383) wrote
them into the text.

    RawBytes().encode("é")  # [195, 169]
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from gptjax.tokenization.protocol import Tokenizer


class RawBytes(Tokenizer):
    """Token i is byte i; documents have no end-of-text between them."""

    kind = "raw_bytes"
    encoding_errors = "surrogateescape"
    keeps_text = True

    def __init__(self):
        self.special_tokens = {}

    @property
    def vocab_size(self) -> int:
        """All bytes."""
        return 256

    @classmethod
    def load(cls, directory: Path) -> Self:
        """There is nothing to read."""
        del directory
        return cls()

    def files(self) -> dict[str, bytes]:
        """There is nothing to keep."""
        return {}

    def _encode_ordinary(self, texts: Sequence[str]) -> Iterable[npt.ArrayLike]:
        encoded = (text.encode(errors=self.encoding_errors) for text in texts)
        return (np.frombuffer(content, np.uint8) for content in encoded)

    def _decode(self, ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")

    def token_bytes(self, index: int) -> bytes:
        """The byte of a token."""
        self.decode([index])  # refuses what is no id
        return bytes([index])
