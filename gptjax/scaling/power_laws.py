"""Power laws with a floor, y = a x^b + c: the loss of a run by its compute (GPT-4, section 3.1).

law = fit_power_law([1e12, 1e13, 1e14, 1e15], [4.0, 3.4, 3.0, 2.7])
law(1e17)

The fit makes the squares of relative errors smallest, which for small ones are those of log y.
Given b, the best a and c are a linear least-squares problem, so that only b is searched (variable
projection): on a grid that is refined around its best point, for many samples at once. So a fit
depends on no start and has no tolerance under which it would stop early.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

STEEPEST, FLATTEST = 4.0, 1e-3  # of the exponents -b that are searched
GRID, ROUNDS, ROUND_GRID = 120, 9, 9


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """y = a x^b + c.

    Attributes:
      a: at least 0, in units of y.
      b: below 0.
      c: the floor, at least 0, in units of y.
      residuals: log y - log of the law, of each point that it was fitted to.
      free: how many of a, b and c were fitted.
    """

    a: float
    b: float
    c: float
    residuals: Floats
    free: int = 3

    def __call__(self, x: ArrayLike) -> Any:
        """The law at `x`, a float or an array of them."""
        return self.a * np.asarray(x, float) ** self.b + self.c

    @property
    def at_bound(self) -> str | None:
        """What is wrong with a fit that ended at the edge of what is searched; None: nothing."""
        if self.free == 3 and self.c <= 0:
            return "the floor c is 0, so that the points show no bend"
        if -self.b >= 0.999 * STEEPEST or -self.b <= 1.001 * FLATTEST:
            return f"the exponent b = {self.b:.4g} is at the edge of {-STEEPEST}..{-FLATTEST}"
        return None


def fit_power_law(x: ArrayLike, y: ArrayLike, *, floor: bool = True) -> PowerLaw:
    """Fits y = a x^b + c, with a, c >= 0 > b.

    Args:
      x: float[n], above 0, such as FLOPs.
      y: float[n], above 0, such as nats per token.
      floor: whether c is fitted; otherwise it is 0.

    Raises:
      ValueError: fewer points of different `x` than parameters, or one that is not above 0.
    """
    x, y = checked_points(x, y, at_least=3 if floor else 2)
    a, b, c = (float(each[0]) for each in fit_many(x, y[None], floor=floor))
    return PowerLaw(a, b, c, np.log(y) - np.log(a * x**b + c), 3 if floor else 2)


def checked_points(x: ArrayLike, y: ArrayLike, *, at_least: int) -> tuple[Floats, Floats]:
    """Points as arrays, refused (ValueError) where they are too few, or not above 0."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"points: got shapes {x.shape} and {y.shape}, expected n values of each")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all() and (y > 0).all()):
        raise ValueError("points: got a value that is not a number above 0, expected only such")
    if len(np.unique(x)) < at_least:
        raise ValueError(
            f"points: got {len(np.unique(x))} of different x, expected at least {at_least}, as "
            "many as the law has parameters"
        )
    return x, y


def fit_many(x: Floats, samples: Floats, *, floor: bool = True) -> tuple[Floats, Floats, Floats]:
    """Fits a law to each of many samples with the same x.

    Args:
      x: float[n].
      samples: float[m, n], above 0.
      floor: whether c is fitted.

    Returns:
      a, b and c, float[m] each.
    """
    middle = np.exp(np.log(x).mean())  # x in units of it, so that x^b is of order 1
    scaled = np.log(x / middle)
    grid = np.geomspace(FLATTEST, STEEPEST, GRID)[None].repeat(len(samples), 0)
    for _ in range(ROUNDS):
        errors = _solved(scaled, samples, grid, floor)[2]
        best = errors.argmin(1)
        rows = np.arange(len(samples))
        low = grid[rows, np.maximum(best - 1, 0)]
        high = grid[rows, np.minimum(best + 1, grid.shape[1] - 1)]
        share = np.linspace(0.0, 1.0, ROUND_GRID)
        grid = low[:, None] * (high / low)[:, None] ** share
    a, c, errors = _solved(scaled, samples, grid, floor)
    rows, best = np.arange(len(samples)), errors.argmin(1)
    exponent = grid[rows, best]
    return a[rows, best] * middle**exponent, -exponent, c[rows, best]


def _solved(
    scaled: Floats, samples: Floats, exponents: Floats, floor: bool
) -> tuple[Floats, Floats, Floats]:
    """The best a and c, and the squares of relative errors: float[m, g] each.

    Args:
      scaled: float[n], log x.
      samples: float[m, n].
      exponents: float[m, g], of x^-exponent.
    """
    # In units of the smallest y and of the largest power, sums stay finite whatever the noise.
    unit = samples.min(1)[:, None]
    inverse = unit[:, :, None] / samples[:, None]  # [m, 1, n]
    exponent = -exponents[:, :, None] * scaled
    largest = exponent.max(-1)
    powers = np.exp(exponent - largest[:, :, None])  # [m, g, n]
    weights = inverse**2
    s0, s1, s2 = (weights.sum(-1), (weights * powers).sum(-1), (weights * powers**2).sum(-1))
    y0, y1 = inverse.sum(-1), (powers * inverse).sum(-1)
    alone = y1 / s2  # a where c is 0
    if floor:
        determinant = s2 * s0 - s1**2
        tiny = determinant <= 1e-14 * s2 * s0
        safe = np.where(tiny, 1.0, determinant)
        a, c = (y1 * s0 - s1 * y0) / safe, (s2 * y0 - s1 * y1) / safe
        a, c = np.where(tiny | (c < 0), alone, a), np.where(tiny | (c < 0), 0.0, c)
        a, c = np.where(a < 0, 0.0, a), np.where(a < 0, y0 / s0, c)
    else:
        a, c = alone, np.zeros_like(alone)
    errors = (((a[:, :, None] * powers + c[:, :, None]) * inverse - 1) ** 2).sum(-1)
    return a * unit * np.exp(-largest), c * unit, errors


def mean_log_pass_rate(pass_rates: ArrayLike) -> Floats:
    """-E[log pass rate] of each model, over problems (GPT-4 report, section 3.2).

    Args:
      pass_rates: float[models, problems], above 0 and at most 1. A problem that a model has never
        solved has no logarithm: take more samples of it, or leave the problem out for all models.

    Returns:
      float[models], in nats; `fit_power_law(compute, it, floor=False)` is the report's law
      alpha C^-k, with alpha = a and k = -b.

    Raises:
      ValueError: a rate outside (0, 1].
    """
    rates = np.asarray(pass_rates, float)
    if rates.ndim != 2 or not ((rates > 0) & (rates <= 1)).all():
        raise ValueError(
            "pass rates: got one that is 0 or no share, expected [models, problems] above 0 and at "
            "most 1: leave out problems that some model never solves, or draw more answers"
        )
    return -np.log(rates).mean(1)


def spread(values: Sequence[float] | Floats) -> float:
    """How many times the largest is the smallest."""
    return float(np.max(values) / np.min(values))
