"""Summary of a comparison as plain values: statistics over seeds, costs, loss curves.

summary = summarise(trials, "flops", measurements, Path("runs/compare"))
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from gptjax import attention
from gptjax.attention.blocks import count_pairs
from gptjax.attention.patterns import in_order
from gptjax.config import ExperimentConfig, ModelConfig, batch_schedule
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget.measure import Measurement
from gptjax.studies.equal_budget.plan import Trial
from gptjax.studies.equal_budget.variants import kind_of_compared, loss_differs
from gptjax.training.reporting.metrics import read_metrics

OF_A_ROW = ("step", "split", "tokens", "seconds")  # what a row has besides figures


def t_interval(values: Sequence[float]) -> dict[str, float | None]:
    """The mean, half the width of its 95% interval by Student's t, and the standard deviation.

    Of one value the last two are None.
    """
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return {"mean": mean, "half_width": None, "deviation": None}
    deviation = statistics.stdev(values)
    half_width = special.stdtrit(n - 1, 0.975) * deviation / n**0.5
    return {"mean": mean, "half_width": float(half_width), "deviation": deviation}


def density(config: ModelConfig) -> float:
    """Pairs that may attend over all causal pairs, T (T + 1) / 2; the mean of layers and heads."""
    patterns, length = attention.parse(config.attention), config.context_length
    pairs = 0
    for layer in range(config.num_layers):
        heads = in_order(patterns[layer % len(patterns)]).per_head()
        pairs += sum(count_pairs(heads[h % len(heads)], length) for h in range(config.num_heads))
    dense = length * (length + 1) / 2
    return pairs / (config.num_layers * config.num_heads * dense)


def curve(
    config: ExperimentConfig, rows: Sequence[Mapping[str, Any]], figure: str = "loss"
) -> list[dict[str, float]]:
    """A figure at each evaluation, against what training had cost until then.

    Args:
      config: of the run, resolved.
      rows: of its metrics.jsonl. Seconds are those of training steps alone, from the speed
        between two logged steps: neither compilation nor evaluation nor saving counts.
      figure: its name.

    Returns:
      For each evaluation: step, tokens, executed FLOPs, seconds, and the figure.
    """
    flops = kind_of(config).costs(config).executed_flops_per_token
    schedule = batch_schedule(config)

    def tokens(row: Mapping[str, Any]) -> int:
        return row.get("tokens", schedule.tokens(row["step"]))  # of runs before rows had it

    logged, trained, seconds, points = [0], 0, [0.0], []
    for row in rows:
        if "split" not in row:
            before, trained = trained, tokens(row)
            seconds.append(seconds[-1] + (trained - before) / row["tokens_per_second"])
            logged.append(row["step"])
    for row in rows:
        if row.get("split") == "validation":
            points.append(
                {
                    "step": row["step"],
                    "tokens": tokens(row),
                    "executed_flops": flops * tokens(row),
                    "seconds": float(np.interp(row["step"], logged, seconds)),
                    figure: row[figure],
                }
            )
    return points


def _of_run(trial: Trial, root: Path, judged: Mapping[str, Any], figure: str) -> dict[str, Any]:
    run = WorkDirectory(str(root / trial.directory))
    rows = read_metrics(run.path / "metrics.jsonl")
    points = curve(trial.config, rows, figure)
    last = next(row for row in reversed(rows) if row.get("split") == "validation")
    return {
        "seed": trial.seed,
        "workdir": trial.directory,
        **{name: value for name, value in last.items() if name not in OF_A_ROW},
        "seconds": points[-1]["seconds"],
        "tokens_per_second": points[-1]["tokens"] / points[-1]["seconds"],
        "curve": points,
        **judged,
    }


def _over_seeds(values: Sequence[Any]) -> dict[str, float | None] | None:
    """`t_interval`; None where a run has no such figure, or one that is not finite."""
    return None if any(value is None for value in values) else t_interval(values)


def _less(one: Any, other: Any) -> float | None:
    return None if one is None or other is None else one - other


def _is_figure(name: str, value: Any) -> bool:
    """Whether a value of an evaluation is a figure, and no end of the interval of another."""
    return type(value) in (int, float) and not name.endswith(("_low", "_high"))


def summarise(
    trials: Sequence[Trial],
    budget: str,
    measurements: Mapping[str, Measurement],
    root: Path,
    judged: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Everything that the table and the plots show, of a comparison whose runs have all ended.

    Args:
      trials: from `plan`.
      budget: what was equal.
      measurements: of each variant, by its key.
      root: the directory of the comparison.
      judged: by a trial's directory, figures that stand in for those of its own last evaluation.

    Returns:
      JSON values: `budget`; `figure`, the one that is drawn, and `axis`, what it is; `figures`, the
      names of all that are compared; and `variants`, each with its `runs`. Of each figure NAME a
      variant has `t_interval` over seeds, and as NAME_less_first that of the differences to the
      first variant's run of the same seed.
    """
    kind = kind_of_compared(trials[0].config)
    by_key = {trial.variant.key: trial.variant for trial in trials}
    other_loss = loss_differs(by_key.values(), kind)
    figure, axis = kind.curves[1 if other_loss else 0]
    variants, figures = [], []
    for key, variant in by_key.items():
        own = [trial for trial in trials if trial.variant.key == key]
        runs = [_of_run(t, root, (judged or {}).get(t.directory, {}), figure) for t in own]
        if not variants:
            found = {name: None for run in runs for name, x in run.items() if _is_figure(name, x)}
            of_cost = {"seed", "seconds", "tokens_per_second", *(["loss"] if other_loss else [])}
            figures = [figure, *(name for name in found if name not in {figure, *of_cost})]
        first = variants[0]["runs"] if variants else []
        config, tokens = own[0].config, runs[0]["curve"][-1]["tokens"]
        costs = kind.costs(config)
        row = {
            "variant": variant.name,
            "changes": dict(variant.values),
            "num_steps": config.training.num_steps,
            "tokens": tokens,
            "parameters": costs.parameters,
            "tokens_per_second": statistics.fmean(run["tokens_per_second"] for run in runs),
            "seconds": statistics.fmean(run["seconds"] for run in runs),
            "density": density(config.model) if kind.predicts_next else None,
            "executed_flops": costs.executed_flops_per_token * tokens,
            "dense_equivalent_flops": costs.flops_per_token * tokens,
            "memory_bytes": measurements[key].memory_bytes,
            "runs": runs,
        }
        for name in figures:
            values = [run.get(name) for run in runs]
            less = [_less(x, run.get(name)) for x, run in zip(values, first, strict=False)]
            row[name] = _over_seeds(values)
            row[f"{name}_less_first"] = _over_seeds(less) if less else None
        variants.append(row)
    return {
        "budget": budget,
        "figure": figure,
        "axis": axis,
        "figures": figures,
        "variants": variants,
    }
