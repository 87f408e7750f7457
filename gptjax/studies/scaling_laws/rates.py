"""The best learning rate by width, in both parametrizations (Tensor Programs V, figure 1).

trials = rate_trials(base, [32, 64, 128, 256], [1e-3, 2e-3, 4e-3])
summary = summarise(trials, losses)

Source: arXiv 2203.03466. Under muP the best rate of a narrow model is that of a wide one.
"""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gptjax.config import ExperimentConfig, resolve
from gptjax.reports.markdown import markdown_table

PARAMETRIZATIONS = ("standard", "mup")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run: a parametrization, a width, a rate, and its resolved configuration."""

    parametrization: str
    d_model: int
    learning_rate: float
    config: ExperimentConfig

    @property
    def directory(self) -> str:
        """Its directory below the study's."""
        return f"{self.parametrization}/{self.d_model}/{self.learning_rate:g}"


def rate_trials(
    base: ExperimentConfig, widths: Sequence[int], rates: Sequence[float]
) -> list[Trial]:
    """The runs, parametrization by parametrization, width by width.

    Heads keep their number, so that they get wider, as muP assumes; all else is the base's.

    Args:
      base: not resolved; of AdamW.
      widths: of the hidden states, two or more.
      rates: peaks, three or more.

    Raises:
      ValueError: too few of either, one that is not above 0, or what a configuration says.
    """
    for flag, values, fewest in (("--widths", widths, 2), ("--rates", rates, 3)):
        if len({*values}) < max(fewest, len(values)) or min(values) <= 0:
            raise ValueError(
                f"{flag}: got {', '.join(map(str, values)) or 'none'}, expected at least {fewest} "
                "different ones above 0"
            )
    trials = []
    for parametrization in PARAMETRIZATIONS:
        for width in sorted(widths):
            for rate in sorted(rates):
                config = copy.deepcopy(base)
                config.model.parametrization = parametrization
                config.model.d_model = width
                config.model.d_head = config.model.d_value = config.model.d_ff = None
                config.optimizer.learning_rate = rate
                trials.append(Trial(parametrization, width, rate, resolve(config)))
    return trials


def summarise(trials: Sequence[Trial], losses: Sequence[float]) -> dict[str, Any]:
    """Losses and best rates, as JSON values.

    Args:
      trials: of `rate_trials`.
      losses: held-out, a trial each; infinite where it diverged.

    Returns:
      By parametrization: `losses`, by width and then by rate; `best`, the best rate by width, at
      the bottom of a parabola through the three points around the lowest one (or that point, at an
      end); `moves`, how many times the largest best rate is the smallest.
    """
    summary: dict[str, Any] = {}
    for trial, loss in zip(trials, losses, strict=True):
        of = summary.setdefault(trial.parametrization, {"losses": {}})["losses"]
        of.setdefault(str(trial.d_model), {})[f"{trial.learning_rate:g}"] = loss
    for found in summary.values():
        found["best"] = {width: best_rate(row) for width, row in found["losses"].items()}
        found["moves"] = max(found["best"].values()) / min(found["best"].values())
    return summary


def best_rate(losses: dict[str, float]) -> float:
    """The rate at the bottom of the curve of loss by log rate; see `summarise`."""
    rates, values = np.array([float(rate) for rate in losses]), np.array([*losses.values()])
    lowest = int(values.argmin())
    around = slice(lowest - 1, lowest + 2)
    if not 0 < lowest < len(rates) - 1 or not np.isfinite(values[around]).all():
        return float(rates[lowest])
    logs = np.log(rates[around] / rates[lowest])
    bend, slope, _ = np.polyfit(logs, values[around], 2)
    return float(rates[lowest] * np.exp(-slope / (2 * bend)))


def markdown(summary: dict[str, Any]) -> str:
    """A table a parametrization, and how far the best rate moves."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    for name, found in summary.items():
        rates = list(next(iter(found["losses"].values())))
        yield f"{name}: the best rate moves by a factor of {found['moves']:.1f}."
        yield ""
        yield from markdown_table(
            ["width", *(f"rate {rate}" for rate in rates), "best rate"],
            [
                [width, *(f"{loss:.3f}" for loss in row.values()), f"{found['best'][width]:.2e}"]
                for width, row in found["losses"].items()
            ],
        )
        yield ""
