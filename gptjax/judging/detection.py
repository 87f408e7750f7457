"""Figures of scores that say how likely something is, against labels of 0 and 1.

    average_precision(scores, labels), area_under_roc(scores, labels)
    threshold = threshold_at_precision(scores, labels, 0.9)
    intervals({"auprc": average_precision}, scores, labels, seed=0)

Examples whose scores are equal are ranked together, as scikit-learn does.
"""

from collections.abc import Callable, Mapping

import numpy as np
import scipy.stats

from gptjax.judging.metrics import resamples

Figure = Callable[[np.ndarray, np.ndarray], float]


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the curve of precision over recall, as a sum of steps; also called AUPRC.

    Args:
      scores: [N] floats.
      labels: [N] of 0 and 1.

    Returns:
      The sum over thresholds of precision times the gain of recall; NaN without a positive. A
      constant score has the share of the positives.
    """
    _, hits, flagged = _curve(scores, labels)
    if not labels.any():
        return float("nan")
    gains = np.diff(hits, prepend=0)
    return float((gains * hits / flagged).sum() / hits[-1])


def area_under_roc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties half; arguments as above.

    NaN without a positive or without a negative. Source: Mann and Whitney 1947, U / (n1 n0).
    """
    positives = int(np.sum(labels))
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = scipy.stats.rankdata(scores)
    rank_sum = float(ranks[np.asarray(labels) == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def threshold_at_precision(
    scores: np.ndarray, labels: np.ndarray, precision: float
) -> float | None:
    """The lowest score such that of those that score as high at least this share is positive.

    Of all thresholds that have the precision it has the highest recall. Arguments as above.

    Returns:
      The threshold, which flags scores that are equal to it; None where no score has the precision.
    """
    thresholds, hits, flagged = _curve(scores, labels)
    fits = np.flatnonzero(hits >= precision * flagged)
    return float(thresholds[fits[-1]]) if fits.size and hits[fits[-1]] else None


def brier_score(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference between probability and label (Brier 1950); arguments as above."""
    return float(np.mean((np.asarray(scores, np.float64) - labels) ** 2))


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: |mean probability - share of positives|, averaged over bins.

    Bins have equally many examples, in the order of their scores, as categories are rare and most
    scores near 0 (Nguyen and O'Connor 2015, arXiv 1508.05154, section 4). Other arguments as above.
    """
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    apart = [
        part.size * abs(float(np.mean(scores[part]) - np.mean(labels[part]))) for part in parts
    ]
    return sum(apart) / len(order)


def intervals(
    figures: Mapping[str, Figure], scores: np.ndarray, labels: np.ndarray, seed: int
) -> dict[str, float]:
    """Figures, each with the bounds of its 95% percentile bootstrap interval over examples.

    Args:
      figures: by name.
      scores: [N] floats.
      labels: [N] of 0 and 1.
      seed: of the resamples; those where a figure is not defined are left out of its interval.

    Returns:
      Of each NAME its value, NAME_low and NAME_high; no entry where it is not defined.
    """
    drawn = [
        [figure(scores[chosen], labels[chosen]) for figure in figures.values()]
        for chosen in resamples(len(labels), seed)
    ]
    found: dict[str, float] = {}
    for (name, figure), values in zip(figures.items(), np.array(drawn).T, strict=True):
        value = figure(scores, labels)
        if np.isnan(value):
            continue
        low, high = np.nanpercentile(values, [2.5, 97.5])
        found |= {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def _curve(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores from the highest, and how many positives and examples score as high."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ordered = np.asarray(scores)[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    hits = np.cumsum(np.asarray(labels)[order].astype(np.int64))[last]
    return ordered[last], hits, last + 1
