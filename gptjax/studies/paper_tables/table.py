"""What a paper's table is: cells with published values, models that are trained, and claims.

    TABLES.get("gpt3:3.9")().cells

A cell says which model it is of and how it is measured. A model has a full form, an experiment of
the registry with the paper's size, and a mini form that trains in minutes on two cores. A claim is
what the paper says of its cells, as a number that is above 0 where it holds.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptjax.config import ExperimentConfig
from gptjax.registry import Registry

Place = tuple[str, str]  # row, column
Values = Mapping[Place, float]
Say = Callable[[str], None]  # is told what goes on


@dataclasses.dataclass(frozen=True)
class Counted:
    """A number that the configuration has, such as its parameters; nothing is trained.

    Attributes:
      of: the number of a resolved configuration.
    """

    of: Callable[[Any], float]


@dataclasses.dataclass(frozen=True)
class Reached:
    """A figure of the last evaluation of the trained model.

    Attributes:
      figure: its name in metrics.jsonl, such as bits_per_byte.
      split: of the evaluation.
      factor: the cell's unit over the figure's.
    """

    figure: str
    split: str = "validation"
    factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A figure of an eval of the trained model.

    Attributes:
      task: as `--tasks` of the binary evals has it.
      figure: one of the task's metrics.
      shots: K, or "fit".
      factor: the cell's unit over the figure's; 100 for shares in percent.
    """

    task: str
    figure: str
    shots: int | str = 0
    factor: float = 100.0


@dataclasses.dataclass(frozen=True)
class Translated:
    """A figure of the trained model's translations of its held-out pairs.

    Attributes:
      figure: its name, as of `Translations.scored`: bleu, chrf or exact.
      bleu_tokenizer: as of a run's `translation`; None: the run's.
    """

    figure: str
    bleu_tokenizer: str | None = None


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of a training step, over those of another model of the table, in one process."""

    than: str


@dataclasses.dataclass(frozen=True)
class Studied:
    """A figure of a study of several stages, which the table runs as a whole.

    Attributes:
      study: key of `Table.studies`.
      of: the figure of each seed in the cell's unit, from what the study returned.
    """

    study: str
    of: Callable[[Any], Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """A number that another command makes.

    Attributes:
      by: the command.
    """

    by: str


OfRun = Reached | Evaluated | Translated  # what a trained run gives
Measure = Counted | OfRun | StepTime | Studied | Elsewhere


@dataclasses.dataclass(frozen=True)
class Model:
    """What is trained for cells.

    Attributes:
      experiment: of the full form, a name of the registry.
      mini: makes the mini form's configuration; None: there is none yet.
    """

    experiment: str
    mini: Callable[[], ExperimentConfig] | None = None

    def command(self) -> str:
        """What trains the full form."""
        return f"python -m experiments.train --experiment={self.experiment}"


@dataclasses.dataclass(frozen=True)
class Study:
    """What trains several models in several stages, for cells that are `Studied`.

    Attributes:
      run: does what is not done yet below a folder, for so many seeds, with the folder of the
        evals' files or None; returns what the cells are figured from.
      cost: of the mini form, for people.
      command: what runs it by itself, with systems that have no cell, too.
    """

    run: Callable[[Path, int, str | None, Say], Any]
    cost: str
    command: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
      row, column: where it stands.
      published: the paper's value, in the column's unit; None: the paper has none.
      model: key of `Table.models`.
      measure: of the full form.
      mini: of the mini form, where that differs.
    """

    row: str
    column: str
    published: float | None
    model: str
    measure: Measure
    mini: Measure | None = None

    @property
    def place(self) -> Place:
        """Row and column."""
        return self.row, self.column

    def measured(self, form: str) -> Measure:
        """The measure of a form, "full" or "mini"."""
        return self.mini if form == "mini" and self.mini is not None else self.measure


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper says of its table.

    Attributes:
      text: in words.
      effect: of one seed's values; above 0 where the claim holds.
      unit: of the effect.
    """

    text: str
    effect: Callable[[Values], float]
    unit: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A paper's table.

    Attributes:
      name: PAPER:TABLE.
      title: what it shows, with the paper.
      source: of the published values: paper, table, section.
      units: of the columns.
      cells: in reading order.
      models: by key.
      claims: of the mini form.
      studies: by key.
      notes: how the mini form differs from the paper, and what is missing.
    """

    name: str
    title: str
    source: str
    units: Mapping[str, str]
    cells: Sequence[Cell]
    models: Mapping[str, Model]
    claims: Sequence[Claim] = ()
    studies: Mapping[str, Study] = dataclasses.field(default_factory=dict)
    notes: str = ""

    def __post_init__(self):
        places = [cell.place for cell in self.cells]
        assert len(set(places)) == len(places), "a cell stands twice"
        assert {cell.model for cell in self.cells} <= {*self.models}, "a model is missing"
        assert {cell.column for cell in self.cells} <= {*self.units}, "a unit is missing"
        measures = [cell.measured(form) for cell in self.cells for form in ("full", "mini")]
        studied = {each.study for each in measures if isinstance(each, Studied)}
        assert studied == {*self.studies}, "a study is missing, or of no cell"


TABLES: Registry[Callable[[], Table]] = Registry("table")


def ratio_less_one(values: Values, place: Place, than: Place) -> float:
    """How much larger one value is than another, as a share of that."""
    return values[place] / values[than] - 1 if values[than] else math.nan
