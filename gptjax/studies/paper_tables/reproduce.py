"""Fills a table: trains the models that are missing, measures the cells, and judges the claims.

    filled = reproduce(table, "runs/tables", form="mini", seeds=3)

Each model and seed is a work directory ROOT/TABLE/FORM/MODEL/SEED, and goes on where it stopped.
Models are trained in the order of their FLOPs, the cheapest first, so that what fails does so soon.
A study of several stages has the directory ROOT/TABLE/FORM/STUDY. A model or a study that fails
leaves its cells empty, with the reason; the rest goes on.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
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
from gptjax.studies.paper_tables.filling import Measured, fill
from gptjax.studies.paper_tables.outcomes import outcomes_of_run
from gptjax.studies.paper_tables.summary import summarise
from gptjax.studies.paper_tables.table import (
    Model,
    OfRun,
    Say,
    StepTime,
    Studied,
    Table,
)

FAILURES = (ValueError, OSError, FloatingPointError, RuntimeError)
MakerOf = Callable[[str], Callable[[], ExperimentConfig]]


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
    costs: dict[str, dict[str, float]] = {}
    trained = models_of(table, form, OfRun)
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
            except FAILURES as error:
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
    studies: dict[str, Any] = {}
    for key in studies_of(table, form):
        try:
            say(f"--- {table.name}: {key}")
            studies[key] = table.studies[key].run(folder / _folder(key), seeds, data, say)
        except FAILURES as error:
            failures[key] = f"{type(error).__name__}: {error}"
            say(f"{table.name}: {key} failed: {error}")
    times = _step_times(table, form, resolved, folder)
    measured = Measured(resolved, failures, times, outcomes, studies)
    filled = {cell.place: fill(cell, form, measured) for cell in table.cells}
    summary = summarise(table, form, seeds, filled, costs) | {"limit": limit}
    write_json(folder / "table.json", {**summary, **provenance()})
    return summary


def studies_of(table: Table, form: str) -> list[str]:
    """The studies that cells are measured by, in the order of the table."""
    measures = [cell.measured(form) for cell in table.cells]
    return list(dict.fromkeys(each.study for each in measures if isinstance(each, Studied)))


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
