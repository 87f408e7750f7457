"""Intervals of a fitted power law and of what it predicts, by bootstrap of its residuals.

interval = predict(x, y, target=1e17)
interval.low, interval.value, interval.high

Each draw adds noise to the fitted law and fits anew. With few points, the deviation of the noise is
itself uncertain: a draw takes it from its chi-squared distribution, which for laws that are linear
in their parameters gives Student's t, and exact coverage. Resampling the points, as is done for
tables of hundreds, fails with six: many samples hold too few different ones to fit. `resampled` is
for large tables, and for any fit.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from gptjax.scaling.power_laws import (
    Floats,
    PowerLaw,
    checked_points,
    fit_many,
    fit_power_law,
    spread,
)

DRAWS = 2000
LEVEL = 0.95
MOST_NOISE = (
    100.0  # of log y in a draw: with one degree of freedom, some have a variance without end
)


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value and the bounds between which it lies in a share `LEVEL` of all cases."""

    value: float
    low: float
    high: float

    def holds(self, truth: float) -> bool:
        """Whether `truth` lies within the bounds."""
        return self.low <= truth <= self.high


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a law says of a run that was not used to fit it.

    Attributes:
      law: as fitted.
      target: x of the run.
      value: y of that run, with an interval that has the noise of a single run in it; its bounds
        are NaN where there are as many points as parameters.
      parameters: intervals of "a", "b" and "c" (if fitted).
      warning: one line that says why the points cannot support the prediction; None: they can.
    """

    law: PowerLaw
    target: float
    value: Interval
    parameters: dict[str, Interval]
    warning: str | None


def predict(
    x: ArrayLike,
    y: ArrayLike,
    target: float,
    *,
    floor: bool = True,
    draws: int = DRAWS,
    seed: int = 0,
) -> Prediction:
    """Fits the law to points and says what it predicts at `target`, with intervals.

    Args:
      x, y: float[n], above 0.
      target: x of the run that is predicted.
      floor: whether the law has one.
      draws: samples of the bootstrap.
      seed: of its random numbers.

    Raises:
      ValueError: see `fit_power_law`.
    """
    x, y = checked_points(x, y, at_least=3 if floor else 2)
    law = fit_power_law(x, y, floor=floor)
    degrees = len(x) - law.free
    fitted = {"a": law.a, "b": law.b} | ({"c": law.c} if floor else {})
    value = float(law(target))
    warning = shortcoming(x, target, law)
    if degrees < 1:
        nothing = {name: Interval(found, np.nan, np.nan) for name, found in fitted.items()}
        return Prediction(law, target, Interval(value, np.nan, np.nan), nothing, warning)
    rng = np.random.default_rng(seed)
    variance = (law.residuals**2).sum() / rng.chisquare(degrees, (draws, 1))
    noise = rng.normal(size=(draws, len(x) + 1)) * np.sqrt(variance)
    noise = noise.clip(-MOST_NOISE, MOST_NOISE)
    a, b, c = fit_many(x, law(x) * np.exp(noise[:, :-1]), floor=floor)
    predicted = (a * target**b + c) * np.exp(noise[:, -1])
    found = {"a": a, "b": b} | ({"c": c} if floor else {})
    return Prediction(
        law,
        target,
        _interval(value, predicted),
        {name: _interval(fitted[name], drawn) for name, drawn in found.items()},
        warning,
    )


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def resampled(
    fit: Callable[..., Sequence[float]], *columns: ArrayLike, draws: int = 200, seed: int = 0
) -> list[Interval]:
    """Intervals of what a fit returns, by bootstrap of the rows of its table.

    Args:
      fit: from columns to numbers; of a search, start it at the fit of the whole table.
      columns: float[n] each, of the same runs.
      draws: samples, each of n rows with replacement.
      seed: of their choice.

    Raises:
      ValueError: fewer than 20 rows, or what `fit` says.
    """
    table = [np.asarray(column) for column in columns]
    number = len(table[0])
    if number < 20:
        raise ValueError(
            f"table: got {number} rows, expected at least 20 to resample; `predict` is for fewer"
        )
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, number, (draws, number))
    drawn = np.array([fit(*(column[chosen] for column in table)) for chosen in rows])
    return [_interval(value, each) for value, each in zip(fit(*table), drawn.T, strict=True)]


def shortcoming(x: Floats, target: float, law: PowerLaw) -> str | None:
    """One line that says why points at `x` cannot support a prediction at `target`, if they cannot.

    The rule: one point more than parameters; a law that did not end at a bound; and at least half
    as many powers of ten between the points as from the nearest point to the target.
    """
    distance = max(target / x.max(), x.min() / target, 1.0)
    if len(x) <= law.free:
        return (
            f"{len(x)} points fix {law.free} parameters exactly: no residual is left, and no "
            f"interval exists; expected at least {law.free + 1} points"
        )
    if law.at_bound is not None:
        return f"{law.at_bound}: expected points over a wider range, or less noise"
    if spread(x) ** 2 < distance:
        return (
            f"the points span a factor of {spread(x):.3g}, and the target is {distance:.3g} times "
            f"beyond them: expected a span of at least {distance**0.5:.3g}"
        )
    return None
