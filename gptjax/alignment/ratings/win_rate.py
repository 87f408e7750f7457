"""Win rate of one system's answers over another's to the same prompts, with an interval.

InstructGPT (arXiv 2203.02155, section 4.1) judges its models by their win rate against the
supervised one. A tie counts half.

    rate = win_rate(scores_of_ppo, scores_of_sft)
    print(rate.rate, rate.low, rate.high)
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from gptjax.alignment.intervals import wilson_interval


@dataclasses.dataclass(frozen=True)
class WinRate:
    """Win rate of paired comparisons, with its interval and counts.

    Attributes:
      rate: the share of comparisons that were won, ties counting half.
      low, high: the ends of its 95% interval over prompts.
      wins, ties, losses: comparisons of each outcome.
      prompts: how many they share.
    """

    rate: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int
    prompts: int


def outcomes(ours: npt.ArrayLike, theirs: npt.ArrayLike, tie_margin: float = 0.0) -> np.ndarray:
    """1 where ours is higher, 0 where theirs is, 0.5 where they are within `tie_margin`; float64.

    Raises:
      ValueError: a score that is not a number, or a negative margin.
    """
    gaps = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    if np.isnan(gaps).any():
        raise ValueError(f"scores: got {int(np.isnan(gaps).sum())} that are NaN, expected none")
    if not tie_margin >= 0:
        raise ValueError(f"tie_margin: got {tie_margin}, expected 0 or more")
    return np.where(np.abs(gaps) <= tie_margin, 0.5, (gaps > 0).astype(np.float64))


def win_rate(ours: npt.ArrayLike, theirs: npt.ArrayLike, *, tie_margin: float = 0.0) -> WinRate:
    """Compares answers, prompt by prompt.

    The interval is that of `intervals.wilson_interval`, of an effective number of comparisons
    that is at most the real one. If each prompt has one answer a side and nothing ties, it is
    Wilson's interval of N. Ties make it a little too wide, never too narrow.

    Args:
      ours: [N] scores of an answer to each prompt, or [N, S] of S answers.
      theirs: [N] or [N, R], of the other system's answers to the same prompts; each of ours is
        compared with each of theirs.
      tie_margin: difference of scores up to which answers tie.

    Raises:
      ValueError: no prompts, not the same number of them, or as `outcomes`.
    """
    ours, theirs = (np.asarray(scores, np.float64) for scores in (ours, theirs))
    shapes = list(ours.shape), list(theirs.shape)
    if {ours.ndim, theirs.ndim} - {1, 2} or len(ours) != len(theirs) or not ours.size * theirs.size:
        raise ValueError(
            f"scores: got shapes {shapes[0]} and {shapes[1]}, expected [N] or [N, S], of the same "
            "N prompts, at least one"
        )
    count = len(ours)
    won = outcomes(ours.reshape(count, -1, 1), theirs.reshape(count, 1, -1), tie_margin)
    right, total = won.sum((1, 2)), np.full(count, won[0].size)
    low, high = wilson_interval(right, total)
    wins, ties, losses = (int((won == outcome).sum()) for outcome in (1.0, 0.5, 0.0))
    return WinRate(float(won.mean()), low, high, wins, ties, losses, count)
