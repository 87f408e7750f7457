"""Fills a table: trains the models that are missing, measures the cells, and judges the claims.

    filled = reproduce(table, "runs/tables", form="mini", seeds=3)

Each model and seed is a work directory ROOT/TABLE/FORM/MODEL/SEED, and goes on where it stopped.
Models are trained in the order of their FLOPs, the cheapest first, so that what fails does so soon.
A model that fails leaves its cells empty, with the reason; the rest goes on.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_json
from gptjax.config import ExperimentConfig, batch_schedule, resolve
from gptjax.interrupted import Interrupted
from gptjax.runs.kind import kind_of
from gptjax.runs.provenance import provenance
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import differences, to_dict
from gptjax.studies.equal_budget.comparison import SAME
from gptjax.studies.equal_budget.measure import measure_all
from gptjax.studies.equal_budget.summary import t_interval
from gptjax.studies.paper_tables.outcomes import Outcome, outcomes_of_run
from gptjax.studies.paper_tables.table import (
    Cell,
    Counted,
    Elsewhere,
    Evaluated,
    Measure,
    Model,
    Place,
    Reached,
    StepTime,
    Table,
)

Say = Callable[[str], None]
MakerOf = Callable[[str], Callable[[], ExperimentConfig]]


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


def config_of(model: Model, form: str, experiment: MakerOf) -> ExperimentConfig | None:
    """The resolved configuration of a model's form; None where it has none."""
    if form == "mini":
        return None if model.mini is None else resolve(model.mini())
    return resolve(experiment(model.experiment)())


def training_flops(config: ExperimentConfig) -> float:
    """Executed FLOPs of a run of a resolved configuration, by the formulas of its kind."""
    tokens = batch_schedule(config).tokens(config.training.num_steps)
    return kind_of(config).costs(config).executed_flops_per_token * tokens


def reproduce(
    table: Table,
    root: str,
    *,
    form: str = "mini",
    seeds: int = 3,
    data: str | None = None,
    limit: int | None = None,
    experiment: MakerOf,
    say: Say = print,
) -> dict[str, Any]:
    """Trains, measures and judges; returns, and writes, the table with our values.

    Args:
      table: to fill.
      root: folder of all tables' runs.
      form: "mini" or "full".
      seeds: runs of each model; their seeds are the configuration's, and the next ones.
      data: folder of the evals' files.
      limit: items of each eval; None: all.
      experiment: the function that makes the configuration of a registered experiment.
      say: is told what goes on.
    """
    folder = folder_of(table, root, form)
    folder.mkdir(parents=True, exist_ok=True)
    counts = {cell.place: Filled(cell) for cell in table.cells}
    costs: dict[str, dict[str, float]] = {}
    trained = models_of(table, form, Reached | Evaluated)
    needed = trained | models_of(table, form, StepTime)
    made = {
        key: config_of(model, form if key in needed else "full", experiment)
        for key, model in table.models.items()
    }
    resolved = {key: config for key, config in made.items() if config is not None}
    order = sorted(trained & {*resolved}, key=lambda key: training_flops(resolved[key]))
    failures: dict[str, str] = {}
    for key in order:
        for number in range(seeds):
            try:
                costs[key] = _model(table, key, resolved[key], number, folder, say)
            except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
                failures[key] = f"{type(error).__name__}: {error}"
                say(f"{table.name}: {key} failed: {error}")
                break
    outcomes = {
        key: [
            outcomes_of_run(
                [cell.measured(form) for cell in table.cells if cell.model == key],
                _workdir(folder, key, resolved[key], number),
                data,
                limit,
            )
            for number in range(seeds)
        ]
        for key in order
        if key not in failures
    }
    times = _step_times(table, form, resolved, folder)
    for filled in counts.values():
        _fill(filled, form, resolved, failures, times, outcomes)
    summary = _summary(table, form, seeds, counts, costs, resolved) | {"limit": limit}
    write_json(folder / "table.json", {**summary, **provenance()})
    return summary


def models_of(table: Table, form: str, kind: Any) -> set[str]:
    """The models of the cells that are measured so."""
    return {cell.model for cell in table.cells if isinstance(cell.measured(form), kind)}


def _model(
    table: Table, key: str, config: ExperimentConfig, number: int, folder: Path, say: Say
) -> dict[str, float]:
    """Trains one model of one seed to its end, unless that is done; returns what it cost."""
    workdir = _workdir(folder, key, config, number)
    config = dataclasses.replace(config)
    config.training = dataclasses.replace(config.training, seed=config.training.seed + number)
    with workdir.claimed():
        if workdir.has_result():
            if changed := differences(config, workdir.config(), SAME):
                raise ValueError(f"{workdir.path} holds another run: {'; '.join(changed)}")
        else:
            say(f"--- {table.name}: {key}, seed {config.training.seed}")
            ended = train(f"{table.name} {key}", config, workdir)
            if ended.interrupted_by is not None:
                raise Interrupted(ended.interrupted_by)
    return {
        "parameters": float(kind_of(config).costs(config).parameters),
        "flops": training_flops(config),
        "seconds": float(workdir.result().get("seconds", math.nan)),
    }


def _workdir(folder: Path, key: str, config: ExperimentConfig, number: int) -> WorkDirectory:
    """The work directory of a model's run of the seed number `number`."""
    return WorkDirectory(str(folder / _folder(key) / str(config.training.seed + number)))


def folder_of(table: Table, root: str, form: str) -> Path:
    """Where a table's runs and files are."""
    return Path(root) / table.name.replace(":", "_") / form


def _folder(key: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in key)


def _step_times(
    table: Table, form: str, configs: Mapping[str, ExperimentConfig], folder: Path
) -> dict[str, float]:
    """Median seconds of training a token with each model that a cell times."""
    wanted: set[str] = set()
    for cell in table.cells:
        timed = cell.measured(form)
        if isinstance(timed, StepTime) and cell.model in configs and timed.than in configs:
            wanted |= {cell.model, timed.than}
    names = {key: f"{key} {_digest(configs[key])}" for key in sorted(wanted)}
    kept = folder / "measured.json"
    if kept.exists() and not {*names.values()} <= json.loads(kept.read_text()).keys():
        kept.unlink()  # what is compared is timed in one process
    timed = measure_all({name: configs[key] for key, name in names.items()}, kept)
    return {key: timed[name].seconds_per_token for key, name in names.items()}


def _digest(config: ExperimentConfig) -> str:
    """Stands for a configuration."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:12]


def _fill(
    filled: Filled,
    form: str,
    configs: Mapping[str, ExperimentConfig],
    failures: Mapping[str, str],
    times: Mapping[str, float],
    outcomes: Mapping[str, Sequence[Mapping[Measure, Outcome]]],
) -> None:
    """Gives one cell its values, or says why it has none."""
    cell, measured = filled.cell, filled.cell.measured(form)
    if cell.model in failures:
        filled.why = f"not run: {failures[cell.model]}"
    elif isinstance(measured, Elsewhere):
        filled.why = f"never run here: {measured.by}"
    elif cell.model not in configs:
        filled.why = f"never run: {cell.model} has no {form} form"
    elif isinstance(measured, Counted):
        filled.values = [float(measured.of(configs[cell.model]))]
    elif isinstance(measured, StepTime):
        filled.values = [times[cell.model] / times[measured.than]]
    else:
        found = [of_seed[measured] for of_seed in outcomes[cell.model]]
        filled.why = next((f"not measured: {one.why}" for one in found if one.why), None)
        if filled.why is None:
            filled.values = [one.value for one in found]
            filled.how = found[0].how
            _interval(filled, measured, found[0])


def _interval(filled: Filled, measured: Reached | Evaluated, first: Outcome) -> None:
    if len(filled.values) > 1:
        over = t_interval(filled.values)
        assert over["half_width"] is not None and over["mean"] is not None
        filled.low = over["mean"] - over["half_width"]
        filled.high = over["mean"] + over["half_width"]
        filled.interval = f"t over {len(filled.values)} seeds"
    elif first.figure is not None and isinstance(measured, Evaluated):
        filled.low = first.figure.low * measured.factor
        filled.high = first.figure.high * measured.factor
        filled.interval = f"{first.figure.interval} over items"


def _summary(
    table: Table,
    form: str,
    seeds: int,
    filled: Mapping[Place, Filled],
    costs: Mapping[str, Mapping[str, float]],
    configs: Mapping[str, ExperimentConfig],
) -> dict[str, Any]:
    cells = [
        {
            "row": one.cell.row,
            "column": one.cell.column,
            "unit": table.units[one.cell.column],
            "published": one.cell.published,
            "ours": one.ours,
            "values": one.values,
            "low": one.low,
            "high": one.high,
            "interval": one.interval,
            "model": one.cell.model,
            "how": one.how,
            "why": one.why,
        }
        for one in filled.values()
    ]
    return {
        "table": table.name,
        "title": table.title,
        "source": table.source,
        "notes": table.notes,
        "form": form,
        "seeds": seeds,
        "cells": cells,
        "claims": [_judged(claim, filled, seeds) for claim in table.claims]
        if form == "mini"
        else [],
        "models": {
            key: {"command": table.models[key].command(), **costs.get(key, {})}
            for key in table.models
        },
        "failed": any(str(one.why).startswith("not ") for one in filled.values()),
    }


class _Recorded(dict[Place, float]):
    """Values that know which of them were asked for."""

    def __init__(self, pairs: Iterable[tuple[Place, float]]):
        super().__init__(pairs)
        self.used: set[Place] = set()

    def __getitem__(self, place: Place) -> float:
        self.used.add(place)
        return super().__getitem__(place)


def _judged(claim: Any, filled: Mapping[Place, Filled], seeds: int) -> dict[str, Any]:
    """The effect of a claim over seeds, and what is to be said of it."""
    effects, used = [], set[Place]()
    for number in range(seeds):
        values = _Recorded(
            (place, one.values[min(number, len(one.values) - 1)])
            for place, one in filled.items()
            if one.values
        )
        try:
            effects.append(float(claim.effect(values)))
        except KeyError:
            return {"claim": claim.text, "unit": claim.unit, "verdict": "not measured"}
        used |= values.used
    over = t_interval(effects)
    mean, half = over["mean"], over["half_width"]
    assert mean is not None
    row = {"claim": claim.text, "unit": claim.unit, "effects": effects, "effect": mean}
    once = any(len(filled[place].values) < seeds for place in used)
    if half is None or once or half == 0:
        several = "of one measurement" if once or half is None else "the same for all seeds"
        return {**row, "verdict": f"{several}: {'as claimed' if mean > 0 else 'not as claimed'}"}
    low, high = mean - half, mean + half
    verdict = "holds" if low > 0 else "does not hold" if high < 0 else "cannot be told from chance"
    return {**row, "low": low, "high": high, "verdict": verdict}
