"""What a cell of a table has come to: its values over seeds, their interval, or why there are none.

cells = [fill(cell, "mini", measured) for cell in table.cells]
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gptjax.config import ExperimentConfig
from gptjax.studies.equal_budget.summary import t_interval
from gptjax.studies.paper_tables.outcomes import Outcome
from gptjax.studies.paper_tables.table import (
    Cell,
    Counted,
    Elsewhere,
    Evaluated,
    Measure,
    OfRun,
    StepTime,
    Studied,
)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the runs of a table gave.

    Attributes:
      configs: resolved, of each model that has this form.
      failures: why, of each model and study that failed.
      times: seconds of training a token, of each model that is timed.
      outcomes: of each trained model, seed by seed.
      studies: what each study returned.
    """

    configs: Mapping[str, ExperimentConfig]
    failures: Mapping[str, str]
    times: Mapping[str, float]
    outcomes: Mapping[str, Sequence[Mapping[Measure, Outcome]]]
    studies: Mapping[str, Any]


@dataclasses.dataclass
class Filled:
    """A cell's outcome.

    Attributes:
      cell: what it is.
      values: of each seed; [] where it was not measured.
      low, high: the 95% interval: of Student's t over seeds, or of the one eval; None: none.
      interval: how that was made.
      how: see `Outcome`, of the first seed.
      why: why there is no value.
    """

    cell: Cell
    values: list[float] = dataclasses.field(default_factory=list)
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    how: Mapping[str, Any] | None = None
    why: str | None = None

    @property
    def ours(self) -> float | None:
        """The mean over seeds."""
        return sum(self.values) / len(self.values) if self.values else None


def fill(cell: Cell, form: str, measured: Measured) -> Filled:
    """One cell with its values, or with the reason why it has none."""
    filled, measure = Filled(cell), cell.measured(form)
    needs = measure.study if isinstance(measure, Studied) else cell.model
    if needs in measured.failures:
        filled.why = f"not run: {measured.failures[needs]}"
    elif isinstance(measure, Elsewhere):
        filled.why = f"never run here: {measure.by}"
    elif isinstance(measure, Studied):
        _over_seeds(filled, [float(x) for x in measure.of(measured.studies[measure.study])])
    elif cell.model not in measured.configs:
        filled.why = f"never run: {cell.model} has no {form} form"
    elif isinstance(measure, Counted):
        filled.values = [float(measure.of(measured.configs[cell.model]))]
    elif isinstance(measure, StepTime):
        filled.values = [measured.times[cell.model] / measured.times[measure.than]]
    else:
        found = [of_seed[measure] for of_seed in measured.outcomes[cell.model]]
        filled.why = next((f"not measured: {one.why}" for one in found if one.why), None)
        if filled.why is None:
            _over_seeds(filled, [one.value for one in found])
            filled.how = found[0].how
            if len(found) == 1:
                _of_items(filled, measure, found[0])
    return filled


def _over_seeds(filled: Filled, values: list[float]) -> None:
    filled.values = values
    if len(values) > 1:
        over = t_interval(values)
        assert over["half_width"] is not None and over["mean"] is not None
        filled.low = over["mean"] - over["half_width"]
        filled.high = over["mean"] + over["half_width"]
        filled.interval = f"t over {len(values)} seeds"


def _of_items(filled: Filled, measure: OfRun, only: Outcome) -> None:
    if only.figure is not None and isinstance(measure, Evaluated):
        filled.low = only.figure.low * measure.factor
        filled.high = only.figure.high * measure.factor
        filled.interval = f"{only.figure.interval}, of items"
