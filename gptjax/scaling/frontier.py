"""The best size for a compute: Chinchilla's approaches 1 and 2 (arXiv 2203.15556, 3.1 and 3.2).

law = optimal_size(envelope(curves))
law = optimal_size(iso_flop(groups))
law.exponent, law(1e21)
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gptjax.scaling.power_laws import Floats, checked_points

STEPS = 1500  # numbers of FLOPs at which the envelope is read (section 3.1)


@dataclasses.dataclass(frozen=True)
class Curve:
    """The training of one run.

    Attributes:
      parameters: N.
      flops: float[n], spent so far; rising.
      losses: float[n], smoothed, in nats per token.
    """

    parameters: float
    flops: Floats
    losses: Floats


@dataclasses.dataclass(frozen=True)
class Best:
    """The best size at some numbers of FLOPs.

    Attributes:
      flops: float[n].
      parameters: float[n], of the run with the lowest loss at each.
      losses: float[n], that loss.
      shortcomings: lines that say where the runs do not hold the best size between them.
    """

    flops: Floats
    parameters: Floats
    losses: Floats
    shortcomings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SizeLaw:
    """N_opt(C) = factor C^exponent; D_opt follows from C = 6 N D, with 1 - exponent."""

    factor: float
    exponent: float

    def __call__(self, flops: ArrayLike) -> Any:
        """Parameters of the best model for a compute."""
        return self.factor * np.asarray(flops, float) ** self.exponent


def envelope(curves: Sequence[Curve]) -> Best:
    """Approach 1: at each number of FLOPs, the run whose training curve is lowest there.

    Raises:
      ValueError: fewer than three sizes, or curves that have no FLOPs in common.
    """
    sizes = {curve.parameters for curve in curves}
    if len(sizes) < 3:
        raise ValueError(f"curves: got {len(sizes)} sizes, expected at least 3")
    low = min(curve.flops[0] for curve in curves)
    high = max(curve.flops[-1] for curve in curves)
    grid = np.geomspace(low, high, STEPS)
    losses = np.stack(
        [
            np.interp(np.log(grid), np.log(c.flops), c.losses, left=np.inf, right=np.inf)
            for c in curves
        ]
    )
    best = losses.argmin(0)
    parameters = np.array([curve.parameters for curve in curves])[best]
    # At either end only one size is there, or the best would be beyond it: those say nothing.
    inner = (parameters > min(sizes)) & (parameters < max(sizes))
    if inner.sum() < 2:
        raise ValueError(
            "curves: got an envelope that holds the smallest and the largest size alone, expected "
            "sizes between them to be the best somewhere"
        )
    dropped = 1 - inner.mean()
    said = (
        () if dropped < 0.5 else (f"at {dropped:.0%} of the FLOPs the best size is an outer one",)
    )
    return Best(grid[inner], parameters[inner], losses[best, np.arange(STEPS)][inner], said)


def iso_flop(groups: Mapping[float, tuple[ArrayLike, ArrayLike]]) -> Best:
    """Approach 2: for each budget, the lowest point of a parabola of loss by log N.

    Args:
      groups: by FLOPs, the sizes and the final losses of runs that spent them.

    Raises:
      ValueError: fewer than three sizes at a budget, or no budget with a lowest point.
    """
    found, said = [], []
    for flops, (sizes, losses) in sorted(groups.items()):
        sizes, losses = checked_points(sizes, losses, at_least=3)
        logs = np.log(sizes)
        middle = logs.mean()
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.RankWarning)
            bend, slope, at_middle = np.polyfit(logs - middle, losses, 2)
        if bend <= 0:
            said.append(f"at {flops:.3g} FLOPs the losses have no lowest point between the sizes")
            continue
        best = -slope / (2 * bend)
        if not logs.min() <= best + middle <= logs.max():
            said.append(f"at {flops:.3g} FLOPs the lowest point is outside the sizes")
        found.append((flops, np.exp(best + middle), at_middle - slope**2 / (4 * bend)))
    if not found:
        raise ValueError(f"groups: got none with a lowest point ({said[0]}), expected some")
    flops, parameters, losses = np.array(found).T
    return Best(flops, parameters, losses, tuple(said))


def optimal_size(best: Best) -> SizeLaw:
    """The power law through the best sizes, by least squares of logarithms.

    Raises:
      ValueError: fewer than two numbers of FLOPs.
    """
    flops, parameters = checked_points(best.flops, best.parameters, at_least=2)
    exponent, at_zero = np.polyfit(np.log(flops), np.log(parameters), 1)
    return SizeLaw(float(np.exp(at_zero)), float(exponent))
