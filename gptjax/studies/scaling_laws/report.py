r"""Plans and predictions for people: Markdown, and the picture of the GPT-4 report (figure 1).

print("\n".join(plan_lines(study)))
plot(study.summary(), "runs/scaling/scaling.png")
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gptjax.reports.markdown import markdown_table
from gptjax.runs.kind import kind_of
from gptjax.scaling.recipes import Recipe
from gptjax.studies.scaling_laws.ladder import Rung


def plan_lines(rungs: Sequence[Rung], target: Rung) -> Iterator[str]:
    """The runs of a ladder and the target: sizes, tokens, batch, rate, and executed FLOPs."""
    rows, spent = [], []
    for rung in [*rungs, target]:
        config = rung.config
        spent.append(kind_of(config).costs(config).executed_flops_per_token * rung.tokens)
        rows.append(
            [
                "target" if rung is target else rung.name,
                f"{rung.parameters:,}",
                f"{rung.tokens:,}",
                f"{config.training.batch_size} x {config.model.context_length}",
                f"{config.training.num_steps:,}",
                f"{config.optimizer.learning_rate:.2e}",
                f"{rung.compute:.3g}",
                f"{rung.compute / target.compute:.2e}",
                f"{spent[-1]:.3g}",
            ]
        )
    yield from markdown_table(
        [
            *("run", "parameters", "tokens", "batch", "steps", "rate"),
            *("C", "share of the target", "executed FLOPs"),
        ],
        rows,
    )
    yield ""
    ladder = sum(spent[:-1])
    yield f"{sum(spent):.3g} FLOPs in all, {ladder / sum(spent):.1%} of them for the ladder."


def recipe_lines(recipes: Sequence[Recipe], flops_per_second: float) -> Iterator[str]:
    """The compute-optimal run for each budget, with what it costs on devices of this speed."""
    yield from markdown_table(
        [
            *("FLOPs", "layers x width", "heads", "parameters", "tokens", "tokens a parameter"),
            *("batch, tokens", "steps", "rate", "expected loss", "device hours"),
        ],
        [
            [
                f"{each.flops:.3g}",
                f"{each.num_layers} x {each.d_model}",
                f"{each.num_heads}",
                f"{each.parameters:.3g}",
                f"{each.tokens:.3g}",
                f"{each.tokens / each.parameters:.1f}",
                f"{each.batch_tokens:,}",
                f"{each.tokens / each.batch_tokens:,.0f}",
                f"{each.learning_rate:.2e}",
                f"{each.loss:.3f}",
                f"{each.flops / flops_per_second / 3600:,.1f}",
            ]
            for each in recipes
        ],
    )


def markdown(summary: dict[str, Any]) -> str:
    """The prediction, the points behind it, and what came of it."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    law, (low, high) = summary["law"], summary["interval"]
    a, b, c = (law[name]["value"] for name in "abc")
    yield f"L(C) = {a:.4g} C^{b:.4f} + {c:.4f}, where C counts: {summary['count']}."
    yield ""
    target = summary["target"]["compute"]
    rows = [
        [
            each["name"],
            f"{each['compute']:.3g}",
            f"{each['compute'] / target:.2e}",
            f"{each['loss']:.4f}",
            f"{100 * residual:+.2f}%",
        ]
        for each, residual in zip(summary["points"], summary["residuals"], strict=True)
    ]
    yield from markdown_table(["run", "C", "share of the target", "loss", "residual"], rows)
    yield ""
    yield f"Predicted for the target: {summary['predicted']:.4f} nats per token,"
    yield f"{summary['level']:.0%} interval {low:.4f} to {high:.4f};"
    yield f"written {summary['written']}, SHA-256 {summary['sha256']}."
    if summary["warning"] is not None:
        yield f"Warning: {summary['warning']}."
    if "measured" in summary:
        inside = "within" if summary["within"] else "outside"
        yield f"Measured: {summary['measured']:.4f}, {inside} the interval. The prediction was"
        yield f"{100 * summary['error']:+.2f}% off."


def plot(summary: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws loss against the share of the target's compute: points, curve, and the target."""
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    whole = summary["target"]["compute"]
    shares = np.array([each["compute"] for each in summary["points"]]) / whole
    a, b, c = (summary["law"][name]["value"] for name in "abc")
    along = np.geomspace(shares.min() / 2, 2.0, 200)
    figure = Figure(figsize=(7, 4.5), dpi=160, layout="constrained")
    axes = figure.subplots()
    axes.plot(along, a * (along * whole) ** b + c, "--", color="C0", label="prediction")
    axes.plot(shares, [each["loss"] for each in summary["points"]], "o", color="C7", label="ladder")
    low, high = summary["interval"]
    axes.vlines(1.0, low, high, color="C0", label=f"{summary['level']:.0%} interval")
    if "measured" in summary:
        axes.plot(1.0, summary["measured"], "o", color="C2", markersize=9, label="the large run")
    axes.set(xscale="log", xlabel="compute, of the large run", ylabel="loss (nats per token)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend()
    figure.savefig(path)
