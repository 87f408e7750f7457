"""Figures of a task's items: how they are made of what each item gave, and how sure they are.

    metric = share("accuracy", "right")
    figure = metric.figure({"right": np.array([1.0, 0.0, 1.0])}, seed=0)
    figure.value, figure.low, figure.high, figure.interval      # 0.667, ..., "wilson"
    paired(metric, columns, other_columns, seed=0)              # of two models on the same items

A column is float64 [N], a number of each item. A share of items has Wilson's interval (1927);
other figures have the percentile bootstrap's (Efron 1979). Two models are compared on the same
items: what is drawn with replacement are items, each with what both models gave.

Items of one cluster, such as questions about one passage, are not independent (Miller 2024, arXiv
2411.00640, section 2.2). A share then has Wilson's interval of as many independent items as they
are worth, N over the design effect (Kish 1965); what is drawn with replacement are clusters.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from gptjax.alignment.intervals import wilson_interval
from gptjax.judging.metrics import RESAMPLES, cluster_numbers, resamples

Columns = Mapping[str, np.ndarray]
Clusters = Sequence[Hashable]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure with its 95% interval, low to high, and the name of how that was made.

    One item or cluster has no bootstrap: low and high are then the value, and the name says so.
    """

    value: float
    low: float
    high: float
    interval: str


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a figure is made.

    Attributes:
      name: of the figure.
      compute: the figure of some items' columns.
      higher_is_better: whether the better model has the higher figure.
      of_share: the column of 0 and 1 whose mean the figure is; None: it is no share.
    """

    name: str
    compute: Callable[[Columns], float]
    higher_is_better: bool = True
    of_share: str | None = None

    def figure(self, columns: Columns, seed: int, clusters: Clusters | None = None) -> Figure:
        """The figure of items, with its interval.

        Args:
          columns: of the items.
          seed: of the resamples.
          clusters: of each item; None: each is one.
        """
        value, clusters = self.compute(columns), _shared(clusters)
        drawn, kind = ("item", "") if clusters is None else ("cluster", "cluster ")
        if self.of_share is not None:
            return Figure(value, *_wilson(columns[self.of_share], clusters), f"{kind}wilson")
        if len(set(clusters or range(_count(columns)))) == 1:
            return Figure(value, value, value, f"none, of one {drawn}")
        samples = resamples(_count(columns), seed, clusters)
        low, high = _middle([self.compute(_some(columns, chosen)) for chosen in samples])
        return Figure(value, low, high, f"{kind}bootstrap")


def mean(name: str, column: str) -> Metric:
    """The mean of a column."""
    return Metric(name, lambda columns: float(columns[column].mean()))


def share(name: str, column: str) -> Metric:
    """The share of items whose column is 1, of a column of 0 and 1."""
    return Metric(name, lambda columns: float(columns[column].mean()), of_share=column)


def exponential(name: str, nats: str, units: str) -> Metric:
    """Perplexity of a unit: the exponential of all nats over all units."""

    def compute(columns: Columns) -> float:
        mean = columns[nats].sum() / columns[units].sum()
        return math.exp(mean) if mean < 700 else math.inf

    return Metric(name, compute, higher_is_better=False)


def bits_per(name: str, nats: str, units: str) -> Metric:
    """Bits of a unit: all nats over all units, over the logarithm of 2."""

    def compute(columns: Columns) -> float:
        return float(columns[nats].sum() / columns[units].sum() / math.log(2))

    return Metric(name, compute, higher_is_better=False)


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much higher one model's figure is than another's on the same items.

    Attributes:
      value: of the figures.
      low, high: its 95% interval, of the paired bootstrap; of one cluster, or item, the value.
      p_value: that there is none. The models are exchanged on clusters, or items: for a share in
        all ways, which is McNemar's exact test (1947) of independent items, else in 1,000.
      test: the name of that test.
    """

    value: float
    low: float
    high: float
    p_value: float
    test: str


def paired(
    metric: Metric, columns: Columns, other: Columns, seed: int, clusters: Clusters | None = None
) -> Difference:
    """The first model's figure less the second one's, on the same items in the same order.

    `seed` and `clusters` are as of `Metric.figure`.
    """
    value, clusters = metric.compute(columns) - metric.compute(other), _shared(clusters)
    drawn = [
        metric.compute(_some(columns, chosen)) - metric.compute(_some(other, chosen))
        for chosen in resamples(_count(columns), seed, clusters)
    ]
    low, high = _middle(drawn)
    numbers = cluster_numbers(range(_count(columns)) if clusters is None else clusters)
    if metric.of_share is not None:
        gains = np.bincount(numbers, columns[metric.of_share] - other[metric.of_share])
        name = "mcnemar" if clusters is None else "cluster sign flips"
        return Difference(value, low, high, _sign_flips(np.rint(gains).astype(int)), name)
    rng, beyond = np.random.default_rng(seed), 0
    for _ in range(RESAMPLES):
        swap = rng.random(numbers.max() + 1)[numbers] < 0.5
        one = {name: np.where(swap, other[name], column) for name, column in columns.items()}
        two = {name: np.where(swap, column, other[name]) for name, column in columns.items()}
        found = metric.compute(one) - metric.compute(two)
        beyond += not abs(found) < abs(value) * (1 - 1e-9)
    name = "permutation" if clusters is None else "cluster permutation"
    return Difference(value, low, high, (beyond + 1) / (RESAMPLES + 1), name)


def _sign_flips(gains: np.ndarray) -> float:
    """How probable a sum as far from 0 as that of whole numbers is, if each has any sign; exact."""
    chances = np.ones(1)
    for gain in np.abs(gains[gains != 0]):
        either = np.zeros(len(chances) + 2 * gain)
        either[: len(chances)] += chances / 2
        either[2 * gain :] += chances / 2
        chances = either
    sums = np.arange(len(chances)) - len(chances) // 2
    return min(1.0, float(chances[np.abs(sums) >= abs(gains.sum())].sum()))


def _shared(clusters: Clusters | None) -> Clusters | None:
    """The clusters, where one of them has several items."""
    return None if clusters is None or len(set(clusters)) == len(clusters) else clusters


def _wilson(right: np.ndarray, clusters: Clusters | None) -> tuple[float, float]:
    numbers = cluster_numbers(range(len(right)) if clusters is None else clusters)
    return wilson_interval(np.bincount(numbers, right), np.bincount(numbers))


def _middle(drawn: Sequence[float] | np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _some(columns: Columns, chosen: np.ndarray) -> Columns:
    """The columns of items that are given by number."""
    return {name: column[chosen] for name, column in columns.items()}


def _count(columns: Columns) -> int:
    return len(next(iter(columns.values())))
