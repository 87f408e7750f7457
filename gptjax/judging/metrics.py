"""Metrics of predicted classes and numbers, each with a bootstrap interval.

    figures = metrics_of(predicted, targets, num_classes=2, seed=0)
    figures["matthews"], figures["matthews_low"], figures["matthews_high"]

GLUE (Wang et al. 2018, arXiv 1804.07461, section 3): accuracy and F1, Matthews' correlation for
CoLA, Pearson's and Spearman's for STS-B.
"""

import functools
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import numpy as np
import scipy.stats

from gptjax.judging.choices import OF_CLASSES

Metric = Callable[[np.ndarray, np.ndarray], float]


RESAMPLES = 1000


def metrics_of(
    predicted: np.ndarray,
    targets: np.ndarray,
    num_classes: int | None,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
) -> dict[str, float]:
    """All metrics of a set, `with_intervals`.

    Args:
      predicted: [N] integers, classes or candidates; or floats.
      targets: likewise.
      num_classes: how many there are; None: numbers are predicted.
      seed: of the resamples.
      clusters: of the examples, as `resamples` has it.

    Returns:
      Of each metric NAME its value, NAME_low and NAME_high. A correlation of values that are all
      the same is 0.
    """
    figures_by_name = metrics(num_classes)

    def figures_of(chosen: np.ndarray) -> dict[str, float]:
        drawn, right = predicted[chosen], targets[chosen]
        return {name: metric(drawn, right) for name, metric in figures_by_name.items()}

    return with_intervals(figures_of, len(targets), seed, clusters)


def with_intervals(
    figures_of: Callable[[np.ndarray], Mapping[str, float]],
    count: int,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
) -> dict[str, float]:
    """Figures of a set of examples, each with the bounds of its 95% interval.

    The interval is the percentile bootstrap's (Efron 1979): the middle 95% of the figure of
    `RESAMPLES` sets of as many examples, drawn with replacement.

    Args:
      figures_of: gives the figures of examples [N], which are given by number.
      count: N, examples in the set.
      seed: of the resamples.
      clusters: of the examples, as `resamples` has it.

    Returns:
      Of each figure NAME its value, NAME_low and NAME_high. Samples that lack what it is of, and
      give NaN, are left out. One cluster, or example, has no interval: both are the value.
    """
    drawn = [figures_of(chosen) for chosen in resamples(count, seed, clusters)]
    figures: dict[str, float] = {}
    for name, value in figures_of(np.arange(count)).items():
        low, high = np.nanpercentile([each[name] for each in drawn], [2.5, 97.5])
        figures |= {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
    return figures


def resamples(
    count: int, seed: int, clusters: Sequence[Hashable] | None = None
) -> Iterator[np.ndarray]:
    """Yields `RESAMPLES` sets of examples, by number, drawn with replacement.

    Args:
      count: N, examples in the set.
      seed: of the draws.
      clusters: what each of the N examples belongs to, such as the passage of a question. Examples
        of one cluster are not independent, so that whole clusters are drawn, as many as there are
        (the cluster bootstrap; Field and Welsh 2007). None: each example is a cluster.
    """
    rng = np.random.default_rng(seed)
    if clusters is None:
        for _ in range(RESAMPLES):
            yield rng.integers(count, size=count)
        return
    numbers = cluster_numbers(clusters)
    by_cluster, sizes = np.argsort(numbers, kind="stable"), np.bincount(numbers)
    begins = np.cumsum(sizes) - sizes
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(sizes), size=len(sizes))
        lengths = sizes[drawn]
        places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        yield by_cluster[np.repeat(begins[drawn], lengths) + places]


def cluster_numbers(clusters: Sequence[Hashable]) -> np.ndarray:
    """The number of each example's cluster [N], from 0, in the order in which they first come."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(cluster, len(seen)) for cluster in clusters], np.int64)


def metrics(num_classes: int | None) -> Mapping[str, Metric]:
    """Functions of predictions [N] and targets [N], by name; others as of `metrics_of`."""
    if num_classes is None:
        return {"pearson": _pearson, "spearman": _spearman}
    of = (_accuracy, _macro_f1, _matthews)
    counted = (functools.partial(_of_counts, metric, num_classes) for metric in of)
    return dict(zip(OF_CLASSES, counted, strict=True))


def _of_counts(
    metric: Callable[[np.ndarray], float],
    num_classes: int,
    predicted: np.ndarray,
    targets: np.ndarray,
) -> float:
    """A metric of the confusion matrix [class, predicted class]."""
    places = targets.astype(np.int64) * num_classes + predicted
    return metric(np.bincount(places, minlength=num_classes**2).reshape(num_classes, num_classes))


def _accuracy(counts: np.ndarray) -> float:
    return float(np.trace(counts) / counts.sum())


def _macro_f1(counts: np.ndarray) -> float:
    """Mean over the classes, of which there is one or a prediction, of 2 TP / (2 TP + FP + FN)."""
    either = counts.sum(0) + counts.sum(1)
    return float((2 * np.diag(counts)[either > 0] / either[either > 0]).mean())


def _matthews(counts: np.ndarray) -> float:
    """Correlation of classes and predictions; for several classes Gorodkin's R_K (2004)."""
    total, of_class, predicted = counts.sum(), counts.sum(1), counts.sum(0)
    covariance = np.trace(counts) * total - of_class @ predicted
    spreads = (total**2 - of_class @ of_class) * (total**2 - predicted @ predicted)
    return float(covariance / np.sqrt(float(spreads))) if spreads > 0 else 0.0


def _pearson(predicted: np.ndarray, targets: np.ndarray) -> float:
    return _correlation(scipy.stats.pearsonr, predicted, targets)


def _spearman(predicted: np.ndarray, targets: np.ndarray) -> float:
    return _correlation(scipy.stats.spearmanr, predicted, targets)


def _correlation(function: Callable[..., object], x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    with warnings.catch_warnings(action="ignore", category=scipy.stats.NearConstantInputWarning):
        return float(function(x, y).statistic)  # pyright: ignore[reportAttributeAccessIssue]
