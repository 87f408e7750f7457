"""BERT's rows of questions about passages: windows over a passage, and the answer's place in them.

Devlin et al. 2018, section 4.2, and google-research/bert, run_squad.py: a row is `[CLS] question
[SEP] passage [SEP]`. A passage that is too long is read in several windows, which begin `stride`
tokens apart. A window without the whole answer has its start and its end at [CLS]. A token that
several windows hold counts in the one where it has the most context on its poorer side.

Differs from google-research/bert: a token knows its characters in the passage, so that the answer's
tokens are those that share a character with it, and an answer is cut out of the passage as it is.

    rows = span_rows(questions, wordpiece, max_tokens=384, stride=128, max_question_tokens=64)
    batch = rows.batch(np.arange(8))
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.squad import Question
from gptjax.tokenization import WordPiece
from gptjax.tokenization.wordpiece import SEPARATOR, START


class Window(NamedTuple):
    """A row: a question and a part of its passage.

    Attributes:
      question: its number.
      tokens: [t] int32, all of the row.
      first: place of the passage's first token in the row.
      offsets: [n, 2] characters of the passage, begin and end of each of its n tokens here.
      counts: [n] bool, whether no other window has more context of the token.
      start: place of the answer's first token in the row; 0: the window has not the whole answer.
      end: place of its last token.
    """

    question: int
    tokens: np.ndarray
    first: int
    offsets: np.ndarray
    counts: np.ndarray
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class SpanRows:
    """Questions as windows; all batches have the same shapes.

    Attributes:
      questions: what was encoded.
      windows: the rows, those of a question behind one another.
    """

    questions: Records[Question]
    windows: tuple[Window, ...]

    def __len__(self) -> int:
        return len(self.windows)

    @functools.cached_property
    def length(self) -> int:
        """Tokens of the longest row."""
        return max(len(window.tokens) for window in self.windows)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Gathers windows, given by number, in any order.

        Args:
          indices: which windows, [B] int64; those past the last are padding.

        Returns:
          tokens: [B, T] int32, padding on the right; T is the length of the longest of all.
          token_types: [B, T] int32, 1 in the passage and at the [SEP] behind it.
          lengths: [B] int32, tokens that are not padding.
          starts, ends: [B] int32, places of the answer's first and last token.
          weights: [B] float32, 1, or 0 of padding.
        """
        tokens = np.zeros((len(indices), self.length), np.int32)
        types = np.zeros_like(tokens)
        lengths, starts, ends = np.zeros((3, len(indices)), np.int32)
        weights = np.zeros(len(indices), np.float32)
        for row, index in enumerate(indices.tolist()):
            if index >= len(self):
                continue
            window = self.windows[index]
            lengths[row] = len(window.tokens)
            tokens[row, : lengths[row]] = window.tokens
            types[row, window.first : lengths[row]] = 1
            starts[row], ends[row], weights[row] = window.start, window.end, 1.0
        return {
            "tokens": tokens,
            "token_types": types,
            "lengths": lengths,
            "starts": starts,
            "ends": ends,
            "weights": weights,
        }


def span_rows(
    questions: Records[Question],
    tokenizer: WordPiece,
    *,
    max_tokens: int,
    stride: int,
    max_question_tokens: int,
) -> SpanRows:
    """Encodes questions and their passages.

    Args:
      questions: the questions.
      tokenizer: with [CLS] and [SEP].
      max_tokens: of a row, more than `max_question_tokens` + 3.
      stride: tokens between the beginnings of two windows, where the first is as long.
      max_question_tokens: longer questions are cut at their end.
    """
    assert max_tokens > max_question_tokens + 3, (max_tokens, max_question_tokens)
    start, separator = (tokenizer.special_tokens[name] for name in (START, SEPARATOR))
    asked = tokenizer.encode_batch([question.question for question in questions])
    contexts = list(dict.fromkeys(question.context for question in questions))
    passages = dict(zip(contexts, tokenizer.encode_with_offsets(contexts), strict=True))
    windows: list[Window] = []
    for number, question in enumerate(questions):
        ids, offsets = passages[question.context]
        head = [start, *asked[number][:max_question_tokens], separator]
        parts = list(_parts(len(ids), max_tokens - len(head) - 1, stride))
        counts = _most_context(parts, len(ids))
        shared = (offsets[:, 1] > question.start) & (offsets[:, 0] < question.end)
        answer = np.flatnonzero(shared)
        for part, counted in zip(parts, counts, strict=True):
            here = slice(*part)
            ends = (0, 0)
            if answer.size and part[0] <= answer[0] and answer[-1] < part[1]:
                ends = (int(end) - part[0] + len(head) for end in (answer[0], answer[-1]))
            tokens = np.concatenate([head, ids[here], [separator]]).astype(np.int32)
            windows.append(Window(number, tokens, len(head), offsets[here], counted[here], *ends))
    return SpanRows(questions, tuple(windows))


def _parts(count: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each window over `count` tokens."""
    begin = 0
    while begin + room < count:
        yield begin, begin + room
        begin += min(stride, room)
    yield begin, count


def _most_context(parts: list[tuple[int, int]], count: int) -> np.ndarray:
    """Which window [W, count] bool counts each token; run_squad.py, _check_is_max_context."""
    at = np.arange(count)
    context = [
        np.where(
            (at >= begin) & (at < end),
            np.minimum(at - begin, end - 1 - at) + 0.01 * (end - begin),
            -1.0,
        )
        for begin, end in parts
    ]
    return np.argmax(context, axis=0)[None] == np.arange(len(parts))[:, None]
