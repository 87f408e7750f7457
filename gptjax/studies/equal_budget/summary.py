"""Summary of a comparison as plain values: statistics over seeds, costs, loss curves.

summary = summarise(trials, "flops", measurements, Path("runs/compare"))
"""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from gptjax import attention
from gptjax.attention.blocks import count_pairs
from gptjax.attention.patterns import in_order
from gptjax.config import ExperimentConfig, ModelConfig, batch_schedule
from gptjax.models.costs import executed_training_flops_per_token, training_flops_per_token
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget.measure import Measurement
from gptjax.studies.equal_budget.plan import Trial
from gptjax.training.reporting.metrics import read_metrics


def t_interval(values: list[float]) -> dict[str, float | None]:
    """The mean, and half the width of its 95% interval by Student's t; None of one value."""
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return {"mean": mean, "half_width": None}
    half_width = special.stdtrit(n - 1, 0.975) * statistics.stdev(values) / n**0.5
    return {"mean": mean, "half_width": float(half_width)}


def density(config: ModelConfig) -> float:
    """Pairs that may attend over all causal pairs, T (T + 1) / 2; the mean of layers and heads."""
    patterns, length = attention.parse(config.attention), config.context_length
    pairs = 0
    for layer in range(config.num_layers):
        heads = in_order(patterns[layer % len(patterns)]).per_head()
        pairs += sum(count_pairs(heads[h % len(heads)], length) for h in range(config.num_heads))
    dense = length * (length + 1) / 2
    return pairs / (config.num_layers * config.num_heads * dense)


def loss_curve(config: ExperimentConfig, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """The held-out loss at each evaluation, against what training had cost until then.

    Args:
      config: of the run, resolved.
      rows: of its metrics.jsonl. Seconds are those of training steps alone, from the speed
        between two logged steps: neither compilation nor evaluation nor saving counts.

    Returns:
      For each evaluation: step, tokens, executed FLOPs, seconds, and loss (nats a token).
    """
    tokens = batch_schedule(config).tokens
    flops = executed_training_flops_per_token(config.model)
    logged, seconds, points = [0], [0.0], []
    for row in rows:
        if "split" not in row:
            trained = tokens(row["step"]) - tokens(logged[-1])
            seconds.append(seconds[-1] + trained / row["tokens_per_second"])
            logged.append(row["step"])
    for row in rows:
        if row.get("split") == "validation":
            step = row["step"]
            points.append(
                {
                    "step": step,
                    "tokens": tokens(step),
                    "executed_flops": flops * tokens(step),
                    "seconds": float(np.interp(step, logged, seconds)),
                    "loss": row["loss"],
                }
            )
    return points


def _of_run(trial: Trial, root: Path, judged: Mapping[str, float]) -> dict[str, Any]:
    run = WorkDirectory(str(root / trial.directory))
    points = loss_curve(trial.config, read_metrics(run.path / "metrics.jsonl"))
    result = run.result()
    return {
        "seed": trial.seed,
        "workdir": trial.directory,
        "loss": result["loss"],
        "bits_per_byte": result["bits_per_byte"],
        "seconds": points[-1]["seconds"],
        "tokens_per_second": points[-1]["tokens"] / points[-1]["seconds"],
        "curve": points,
        **judged,
    }


def summarise(
    trials: list[Trial],
    budget: str,
    measurements: Mapping[str, Measurement],
    root: Path,
    judged: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Everything that the table and the plots show, of a comparison whose runs have all ended.

    Args:
      trials: from `plan`.
      budget: what was equal.
      measurements: of each variant.
      root: the directory of the comparison.
      judged: by a trial's directory, figures that stand in for those of its own last evaluation.

    Returns:
      JSON values: `budget`, and `variants`, each with its `runs`.
    """
    variants = []
    for variant in dict.fromkeys(trial.variant for trial in trials):
        own = [trial for trial in trials if trial.variant == variant]
        config, runs = (
            own[0].config,
            [_of_run(trial, root, (judged or {}).get(trial.directory, {})) for trial in own],
        )
        tokens, losses = runs[0]["curve"][-1]["tokens"], [run["loss"] for run in runs]
        first = variants[0]["runs"] if variants else []
        differences = [ours - run["loss"] for ours, run in zip(losses, first, strict=False)]
        variants.append(
            {
                "variant": variant,
                "num_steps": config.training.num_steps,
                "tokens": tokens,
                "loss": t_interval(losses),
                "loss_less_first": t_interval(differences) if differences else None,
                "bits_per_byte": t_interval([run["bits_per_byte"] for run in runs]),
                "tokens_per_second": statistics.fmean(r["tokens_per_second"] for r in runs),
                "seconds": statistics.fmean(run["seconds"] for run in runs),
                "density": density(config.model),
                "executed_flops": executed_training_flops_per_token(config.model) * tokens,
                "dense_equivalent_flops": training_flops_per_token(config.model) * tokens,
                "memory_bytes": measurements[variant].memory_bytes,
                "runs": runs,
            }
        )
    return {"budget": budget, "variants": variants}
