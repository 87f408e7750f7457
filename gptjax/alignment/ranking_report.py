"""Accuracy of a reward model on held-out rankings, beside the agreement of their annotators.

InstructGPT (arXiv 2203.02155, section 4.1 and appendix E.2) gives the accuracy of its reward models
on held-out comparisons, and section 3.4 how often its labellers agree.

    report = ranking_report(rankings, rewards)
    report["accuracy"], report["accuracy_interval"], report["agreement"]
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gptjax.alignment.ranking import calibration
from gptjax.data.dialogue.rankings import Ranking, agreement

_Z = 1.959963984540054  # the 97.5% quantile of the standard normal distribution


def ranking_report(rankings: Sequence[Ranking], rewards: Sequence[npt.ArrayLike]) -> dict[str, Any]:
    """Figures of rewards on rankings, as JSON values.

    Args:
      rankings: one or more.
      rewards: of their answers, [K] each. If these are the answers' true quality, the accuracy is
        that of a perfect reward model on these annotators.

    Returns:
      `rankings` and `comparisons`, the untied pairs of all annotators; `accuracy`, the share of
      those that rewards order as the annotator does, and `accuracy_interval`, its 95% interval;
      `calibration_error` and `calibration`, see `calibration`; `agreement`, how often two
      annotators who both prefer an answer prefer the same, which is the ceiling, and
      `agreement_with_ties`: None where no two annotators judge the same pair.

    Raises:
      ValueError: no comparison, rewards of another shape, or one that is not a number.
    """
    right, total, margins, weights = [], [], [], []
    for ranking, given in zip(rankings, rewards, strict=True):
        values = np.asarray(given, np.float64)
        if values.shape != (len(ranking.responses),):
            raise ValueError(
                f"rewards: got shape {list(values.shape)}, expected [{len(ranking.responses)}], "
                "one for each answer"
            )
        counts = ranking.judgements().sum(0)
        gaps = values[:, None] - values[None, :]
        right.append(float((counts * (1.0 + np.sign(gaps)) / 2.0).sum()))
        total.append(float(counts.sum()))
        margins.append(gaps.ravel())
        weights.append(counts.ravel())
    bins = calibration(np.concatenate(margins), np.concatenate(weights))
    agreed = agreement(rankings)
    return {
        "rankings": len(rankings),
        "comparisons": int(sum(total)),
        "accuracy": sum(right) / sum(total),
        "accuracy_interval": list(wilson_interval(right, total)),
        "calibration_error": bins.error,
        "calibration": [
            {"comparisons": int(weight), "confidence": confidence, "accuracy": accuracy}
            for weight, confidence, accuracy in zip(
                bins.weight.tolist(), bins.confidence.tolist(), bins.accuracy.tolist(), strict=True
            )
            if weight > 0
        ],
        "agreement": _or_none(agreed.rate),
        "agreement_with_ties": _or_none(agreed.rate_with_ties),
    }


def wilson_interval(right: npt.ArrayLike, total: npt.ArrayLike) -> tuple[float, float]:
    """95% interval of sum(right) / sum(total), with all comparisons of one prompt as one cluster.

    It is Wilson's interval (1927) of an effective number of comparisons: the number of independent
    comparisons that would have the variance which the ratio has over prompts (Cochran 1977,
    "Sampling Techniques", equation 6.13). If that variance is 0, each prompt counts as one
    comparison.

    Args:
      right: [N], the number of each prompt's comparisons in the annotators' order.
      total: [N], the number of each prompt's comparisons.
    """
    right, total = np.asarray(right, np.float64), np.asarray(total, np.float64)
    prompts, comparisons = np.count_nonzero(total), total.sum()
    share = right.sum() / comparisons
    # Whole numbers, but for ties' halves: exactly 0 where all prompts have the same share.
    gaps = right * comparisons - right.sum() * total
    variance = np.square(gaps).sum() / comparisons**4
    size = min(share * (1 - share) / variance, comparisons) if variance > 0 else prompts
    centre = (share + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    half = _Z / (1 + _Z**2 / size) * math.sqrt(share * (1 - share) / size + (_Z / (2 * size)) ** 2)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def _or_none(rate: float) -> float | None:
    return rate if math.isfinite(rate) else None
