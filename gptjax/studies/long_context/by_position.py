"""The loss of each position of long held-out windows.

windows = long_windows(split, size=4096, most=16)      # each within one document
nats = losses(Scorer(model, params), windows)          # [N, 4096]
curve = by_ranges(nats, edges(512, 4096))

A window begins where its model has read nothing, so that position i is predicted from i tokens.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.inference.scoring import Scorer
from gptjax.studies.equal_budget.summary import t_interval


def long_windows(split: TokenizedSplit, size: int, most: int) -> np.ndarray:
    """Up to `most` windows of `size` + 1 tokens, none of which crosses the end of a document.

    They are spread over the documents that are long enough: the first of each, then the second.

    Returns:
      int32 [N, size + 1].

    Raises:
      ValueError: no document is long enough.
    """
    bounds = [*split.document_starts.tolist(), len(split.tokens)]
    lengths = np.diff(bounds)
    places = [
        (turn, begin + turn * (size + 1))
        for begin, length in zip(bounds, lengths.tolist(), strict=False)
        for turn in range(length // (size + 1))
    ]
    if not places:
        raise ValueError(
            f"the {split.name} has no document of {size + 1} tokens, expected one: its longest has "
            f"{lengths.max(initial=0)} (files of plain text are cut into documents of 32 KiB)"
        )
    chosen = sorted(places)[:most]
    return np.stack([split.tokens[at : at + size + 1] for _, at in chosen]).astype(np.int32)


def losses(scorer: Scorer, windows: np.ndarray) -> np.ndarray:
    """The loss of every token but the first of windows [N, S + 1]: nats, float64 [N, S]."""
    scores = scorer.score([(window[:1], window[1:]) for window in windows])
    return -np.stack([score.log_probs for score in scores]).astype(np.float64)


def sliding_losses(scorer: Scorer, windows: np.ndarray, context: int) -> np.ndarray:
    """As `losses`, of a model that reads the last tokens alone.

    Past the first `context` tokens each is predicted from half of `context` before it, or more.
    """
    half = max(1, context // 2)
    pairs = []
    for window in windows:
        pairs.append((window[:1], window[1 : context + 1]))
        pairs += [
            (window[at - half : at], window[at : at + half])
            for at in range(context + 1, len(window), half)
        ]
    parts = [score.log_probs for score in scorer.score(pairs)]
    return -np.concatenate(parts).reshape(len(windows), -1).astype(np.float64)


def edges(context: int, longest: int) -> list[int]:
    """0, the trained context, and its doubles up to `longest`."""
    found = [0, context]
    while found[-1] < longest:
        found.append(min(2 * found[-1], longest))
    return found


def by_ranges(nats: np.ndarray, bounds: Sequence[int]) -> list[dict[str, Any]]:
    """The mean loss between each two neighbours of `bounds`, as far as `nats` [N, S] goes.

    Returns:
      For each range `begin`, `end` (positions), `loss` (nats a token), and `half_width` of its 95%
      interval over windows by Student's t; None of one window.
    """
    rows = []
    for begin, end in itertools.pairwise(bounds):
        if end > nats.shape[1]:
            break
        found = t_interval(nats[:, begin:end].mean(1).tolist())
        rows.append(
            {"begin": begin, "end": end, "loss": found["mean"], "half_width": found["half_width"]}
        )
    return rows
