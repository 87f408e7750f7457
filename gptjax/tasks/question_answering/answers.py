"""Answers from the scores of their ends (google-research/bert, run_squad.py, write_predictions).

found = answers(scores, rows, max_answer_tokens=30)
best_texts(found)[0]
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.special

from gptjax.atomic_files import write_json
from gptjax.data.batches.span_rows import SpanRows, Window
from gptjax.training.processes import on_first

N_BEST = 20
PREDICTIONS, NBEST = "predictions.json", "nbest_predictions.json"


class Answer(NamedTuple):
    """A part of a passage, as it stands there, and the scores of its ends."""

    text: str
    start_score: float
    end_score: float

    @property
    def score(self) -> float:
        """Score of the answer."""
        return self.start_score + self.end_score


def answers(scores: np.ndarray, rows: SpanRows, max_answer_tokens: int) -> dict[int, list[Answer]]:
    """The best answers to each question that was judged, the best first, at most `N_BEST`.

    Args:
      scores: [N, T, 2] of the first N windows, see `SpanReader`.
      rows: the windows.
      max_answer_tokens: tokens of an answer, at most.

    Returns:
      Answers by the question's number, each text once. A passage without a token has none.
    """
    found: dict[int, list[Answer]] = {}
    for window, of_row in zip(rows.windows, scores, strict=False):
        context = rows.questions[window.question].context
        of_question = found.setdefault(window.question, [])
        of_question += _of_window(of_row.astype(np.float64), window, context, max_answer_tokens)
    for number, given in found.items():
        best: dict[str, Answer] = {}
        for answer in sorted(given, key=lambda answer: -answer.score):
            best.setdefault(answer.text, answer)
        found[number] = list(best.values())[:N_BEST]
    return found


def _of_window(
    scores: np.ndarray, window: Window, context: str, max_answer_tokens: int
) -> list[Answer]:
    """The best answers that begin at a token which counts in this window."""
    count = len(window.offsets)
    if not count:
        return []
    starts, ends = scores[window.first : window.first + count].T
    starts = np.where(window.counts, starts, -np.inf)
    padded = np.concatenate([ends, np.full(max_answer_tokens - 1, -np.inf)])
    sums = starts[:, None] + np.lib.stride_tricks.sliding_window_view(padded, max_answer_tokens)
    best = np.argsort(-sums, axis=None, kind="stable")[:N_BEST]
    pairs = ((i, i + more) for i, more in zip(*np.unravel_index(best, sums.shape), strict=True))
    return [
        Answer(
            context[window.offsets[i, 0] : window.offsets[j, 1]], float(starts[i]), float(ends[j])
        )
        for i, j in pairs
        if j < count and window.counts[i]
    ]


def best_texts(found: Mapping[int, Sequence[Answer]]) -> dict[int, str]:
    """Text of the best answer to each question; empty where there is none."""
    return {number: given[0].text if given else "" for number, given in found.items()}


def write_answers(folder: Path, found: Mapping[int, Sequence[Answer]], rows: SpanRows) -> None:
    """Writes predictions.json, an answer for each id, as SQuAD's script reads it, and the N best.

    nbest_predictions.json has for each id texts with their probabilities among them.
    """

    def described(given: Sequence[Answer]) -> list[dict[str, object]]:
        scores = np.array([answer.score for answer in given])
        odds = scipy.special.softmax(scores).tolist() if given else []
        return [
            {"text": answer.text, "probability": share}
            for answer, share in zip(given, odds, strict=True)
        ]

    ids = {number: rows.questions[number].id for number in found}
    texts = {ids[number]: text for number, text in best_texts(found).items()}
    several = {ids[number]: described(given) for number, given in found.items()}
    on_first(lambda: write_json(folder / PREDICTIONS, texts))
    on_first(lambda: write_json(folder / NBEST, several))
