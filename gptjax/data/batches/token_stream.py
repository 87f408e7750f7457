"""Documents as one stream of tokens, cut into windows.

    split.batch(np.arange(8), context_length=256)["tokens"]

A split is one stream, `<eot> document <eot> document ... <eot>`, as GPT-2 and GPT-3 pack theirs
(arXiv 2005.14165, appendix B): every token of a document, and the end-of-text after it, is
predicted exactly once, the first token of a document from the end-of-text before it. Window i of T
tokens starts at token i T, so that all windows together, the last of them partial, cover each
target once. Raw bytes and GPT-1's vocabulary have no end-of-text: their documents follow each other
directly, and the very first token is never predicted.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

HostBatch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TokenizedSplit:
    """The token stream of one split; arrays lie in files and are read where they are touched.

    Attributes:
      name: what the split is called in messages: "train split of python_docs".
      tokens: the stream, [N] uint16 or uint32.
      document_starts: place in the stream of each document, from the end-of-text before it on
        where there is one, [D] int64.
      document_bytes: length of each document in bytes, [D] int64.
      decoded_bytes: gives the bytes of the text that tokens decode to, where the tokenizer loses
        some of the documents; None: tokens hold all of them.
    """

    name: str
    tokens: np.ndarray
    document_starts: np.ndarray
    document_bytes: np.ndarray
    decoded_bytes: Callable[[np.ndarray], int] | None = None

    @property
    def num_targets(self) -> int:
        """Tokens that are predicted: all but the first."""
        return len(self.tokens) - 1

    @functools.cached_property
    def num_bytes(self) -> int:
        """UTF-8 bytes of `bytes_of`; bits per byte = nats of all targets / (ln 2 x this)."""
        if self.decoded_bytes is None:
            return int(self.document_bytes.sum())
        documents = np.split(self.tokens, self.document_starts[1:])
        return sum(map(self.decoded_bytes, documents))

    @property
    def bytes_of(self) -> str:
        """What `num_bytes` counts: "documents", or the text that the tokens decode to."""
        return "documents" if self.decoded_bytes is None else "decoded tokens"

    @property
    def bytes_per_target(self) -> float:
        """`num_bytes` over targets."""
        return self.num_bytes / self.num_targets

    def check_targets(self) -> None:
        """Raises ValueError where there is no token to predict, or no byte in the text."""
        if self.num_targets < 1 or not self.num_bytes:
            raise ValueError(
                f"the {self.name} has {len(self.tokens)} token(s) and {self.num_bytes} byte(s) of "
                "text; expected at least one token to predict"
            )

    def full_windows(self, context_length: int) -> int:
        """The number of windows whose `context_length` targets all exist.

        Raises:
          ValueError: there is none.
        """
        if self.num_targets < context_length:
            raise ValueError(
                f"the {self.name} has {self.num_targets} tokens; expected at least one window "
                f"of context_length = {context_length}"
            )
        return self.num_targets // context_length

    def all_windows(self, context_length: int) -> int:
        """The number of windows that hold every target; the last may be partial."""
        return -(-self.num_targets // context_length)

    def batch(
        self, windows: np.ndarray, context_length: int, document_masking: bool = False
    ) -> HostBatch:
        """Gathers windows, given by index, in any order.

        Args:
          windows: which windows, [B] int64. What lies past the end of the stream, be it the rest
            of the last window or windows after it, is padding.
          context_length: T, tokens a window.
          document_masking: adds `segment_ids` and `positions`. An end-of-text belongs to the
            document that follows.

        Returns:
          tokens, targets: [B, T] int32. targets are the tokens that follow; padding repeats
            the last token.
          loss_weights: [B, T] float32, 0 on padding, 1 elsewhere.
          segment_ids: [B, T] int32, the documents in a window counted from 0; -1 is padding.
          positions: [B, T] int32, tokens since the document, or else the window, began.
        """
        last = len(self.tokens) - 1
        places = windows[:, None] * context_length + np.arange(context_length + 1)
        stream = self.tokens[np.minimum(places, last)].astype(np.int32)
        inputs, is_target = places[:, :-1], places[:, 1:] <= last
        batch = {
            "tokens": np.ascontiguousarray(stream[:, :-1]),
            "targets": np.ascontiguousarray(stream[:, 1:]),
            "loss_weights": is_target.astype(np.float32),
        }
        if document_masking:
            document = np.searchsorted(self.document_starts, inputs, side="right") - 1
            segment_ids = np.where(is_target, document - document[:, :1], -1)
            starts = np.maximum(self.document_starts[document], inputs[:, :1])
            batch["segment_ids"] = segment_ids.astype(np.int32)
            batch["positions"] = (inputs - starts).astype(np.int32)
        return batch
