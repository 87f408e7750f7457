"""What a transfer study found, as plain values: figures of each system on each task, over seeds.

summary = summarise(study, runs, "tokens")
"""

from collections.abc import Sequence
from typing import Any, cast

from gptjax.config import batch_schedule
from gptjax.runs.kind import kind_of
from gptjax.studies.equal_budget.summary import t_interval
from gptjax.studies.transfer.config import Transfer
from gptjax.studies.transfer.plan import Run
from gptjax.tasks.classification.config import LabelledConfig
from gptjax.training.reporting.metrics import read_metrics


def summarise(study: Transfer, runs: Sequence[Run], budget: str) -> dict[str, Any]:
    """Figures and costs of a study whose runs have all ended.

    Args:
      study: what was run.
      runs: of all seeds, seed by seed.
      budget: what was equal.

    Returns:
      JSON values: `budget`, `seeds`; `pretraining`, the costs of a run by model; `tasks`, by name
      the `metric` of held-out examples after the last step, `majority_share`, and `systems`, each
      with `values` a seed, and over seeds the `t_interval` of the figure and of its difference to
      the first system's of the same seed, `less_first`.
    """
    seeds = sorted({run.seed for run in runs})
    tasks: dict[str, Any] = {}
    for run in runs:
        if run.task is None:
            continue
        metric = cast(LabelledConfig, run.workdir.config()).task.metric
        result = run.workdir.result()
        task = tasks.setdefault(
            run.task,
            {"metric": metric, "majority_share": result.get("majority_share"), "systems": {}},
        )
        system = task["systems"].setdefault(run.name, {"values": []})
        system["values"].append(_last(run)[metric])
    first = next(iter(study.systems))
    for task in tasks.values():
        base = task["systems"][first]["values"]
        for name, system in task["systems"].items():
            system["figure"] = t_interval(system["values"])
            less = [x - y for x, y in zip(system["values"], base, strict=True)]
            system["less_first"] = None if name == first else t_interval(less)
    return {
        "budget": budget,
        "seeds": seeds,
        "pretraining": {
            run.name: _costs(run) for run in runs if run.task is None and run.seed == seeds[0]
        },
        "tasks": tasks,
    }


def _last(run: Run) -> dict[str, Any]:
    """The last evaluation of held-out examples."""
    rows = read_metrics(run.workdir.path / "metrics.jsonl")
    return next(row for row in reversed(rows) if row.get("split") == "validation")


def _costs(run: Run) -> dict[str, Any]:
    config = run.workdir.config()
    costs = kind_of(config).costs(config)
    tokens = batch_schedule(config).tokens(config.training.num_steps)
    return {
        "kind": config.kind,
        "parameters": costs.parameters,
        "num_steps": config.training.num_steps,
        "tokens": tokens,
        "executed_flops": costs.executed_flops_per_token * tokens,
        "loss": _last(run)["loss"],
    }
