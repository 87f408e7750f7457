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

from gptjax.alignment.intervals import wilson_interval
from gptjax.alignment.ranking import calibration
from gptjax.data.dialogue.rankings import Ranking, agreement


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


def _or_none(rate: float) -> float | None:
    return rate if math.isfinite(rate) else None
