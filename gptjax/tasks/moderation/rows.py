"""Labelled texts as rows of tokens: each text's beginning to learn from, all its windows to judge.

rows = text_rows(texts, tokenizer, context_length=128, whole=False)
batch = rows.batch(np.arange(8))
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.multilabel import LabelledText
from gptjax.tokenization import Tokenizer


def windows(tokens: np.ndarray, length: int) -> list[np.ndarray]:
    """Cuts tokens [n] into windows of at most `length`, which share a quarter with the one before.

    Each token is in one at least; the last window ends with the text and is as long as the others.
    """
    stride = length - length // 4
    last = max(len(tokens) - length, 0)
    starts = [*range(0, last, stride), last]
    return [tokens[start : start + length] for start in starts]


@dataclasses.dataclass(frozen=True)
class TextRows:
    """Windows of labelled texts; all batches have the same shapes.

    Attributes:
      texts: what was encoded, with C labels each.
      sequences: the windows [n] int32, those of a text one behind the other.
      owners: [R] int64, the number of the text of each.
      truncated: texts whose end is in no window.
    """

    texts: Records[LabelledText]
    sequences: Sequence[np.ndarray]
    owners: np.ndarray
    truncated: int

    def __len__(self) -> int:
        return len(self.sequences)

    @functools.cached_property
    def length(self) -> int:
        """T: tokens of the longest window."""
        return max(map(len, self.sequences))

    @functools.cached_property
    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """The labels of the texts [N, C] float32, 0 where unknown, and whether they are known."""
        given = np.array([text.labels for text in self.texts], np.float32)  # None becomes NaN
        known = ~np.isnan(given)
        return np.where(known, given, 0).astype(np.float32), known

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Gathers windows, given by number, in any order.

        Args:
          indices: which windows, [B] int64; those past the last are padding.

        Returns:
          tokens: [B, T] int32, padding on the right.
          lengths: [B] int32, tokens that are not padding; at least 1, but 0 of padding.
          labels: [B, C] float32, those of the text.
          known: [B, C] float32, 1 where a label is known; all 0 of padding.
        """
        given, of_text = self.labels
        tokens = np.zeros((len(indices), self.length), np.int32)
        lengths = np.zeros(len(indices), np.int32)
        labels, known = (np.zeros((len(indices), given.shape[1]), np.float32) for _ in range(2))
        for row, index in enumerate(indices.tolist()):
            if index >= len(self):
                continue
            ids, owner = self.sequences[index], self.owners[index]
            tokens[row, : len(ids)], lengths[row] = ids, len(ids)
            labels[row], known[row] = given[owner], of_text[owner]
        return {"tokens": tokens, "lengths": lengths, "labels": labels, "known": known}


def text_rows(
    texts: Records[LabelledText], tokenizer: Tokenizer, *, context_length: int, whole: bool
) -> TextRows:
    """Encodes labelled texts.

    Args:
      texts: not empty, so that each has a token at least.
      tokenizer: of the model.
      context_length: longest window, in tokens.
      whole: whether all windows of a text are rows; if not, its first alone is.
    """
    encoded = tokenizer.encode_batch([text.text for text in texts])
    several = [windows(ids, context_length) for ids in encoded]
    truncated = 0 if whole else sum(len(each) > 1 for each in several)
    kept = [each if whole else each[:1] for each in several]
    owners = np.repeat(np.arange(len(kept)), [len(each) for each in kept])
    return TextRows(texts, [ids for each in kept for ids in each], owners, truncated)


def highest(outputs: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """The highest output [N, C] over the windows of each text, of outputs [R, C] of the windows.

    Fewer outputs than owners are those of the first windows; N are the texts that they are of.
    """
    owners = owners[: len(outputs)]
    found = np.full((int(owners.max()) + 1, outputs.shape[1]), -np.inf, outputs.dtype)
    np.maximum.at(found, owners, outputs)
    return found
