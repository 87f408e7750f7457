"""The summary of a comparison for people: a table, on screen and as Markdown, and a picture.

Console().print(table(summary))
plot(summary, "runs/compare/comparison.png")
"""

import os
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from gptjax.reports.markdown import markdown_table

HEADINGS = (
    "variant",
    "steps",
    "loss",
    "less first",
    "bits/byte",
    "tokens/s",
    "seconds",
    "density",
    "FLOPs",
    "if dense",
    "MiB",
)
EQUAL = {
    "tokens": "equal training tokens",
    "flops": "equal executed training FLOPs",
    "seconds": "equal training seconds, as far as the steps timed for measured.json tell",
}
NOTES = """\
loss: held out, nats a token; mean over seeds, ± half the 95% interval (Student's t). Of variants
that look ahead, all are judged on the targets that none of them lets an earlier token see.
less first: the mean over seeds of the difference to the first variant's loss, likewise.
seconds: of training steps alone. density: pairs that may attend over T (T + 1) / 2 causal pairs.
FLOPs: executed in training, by formula, with the attention pairs that are computed;
if dense: the same with every pair of positions.
MiB: memory of the compiled training step on each device, as XLA plans it.
"""


def _measured(value: dict[str, float | None] | None) -> str:
    if value is None:
        return ""
    mean, half_width = value["mean"], value["half_width"]
    return f"{mean:.4f}" if half_width is None else f"{mean:.4f} ± {half_width:.4f}"


def _cells(variant: dict[str, Any]) -> list[str]:
    return [
        variant["variant"],
        f"{variant['num_steps']:,}",
        _measured(variant["loss"]),
        _measured(variant["loss_less_first"]),
        _measured(variant["bits_per_byte"]),
        f"{variant['tokens_per_second']:,.0f}",
        f"{variant['seconds']:,.1f}",
        f"{variant['density']:.3f}",
        f"{variant['executed_flops']:.3e}",
        f"{variant['dense_equivalent_flops']:.3e}",
        f"{variant['memory_bytes'] / 2**20:,.1f}",
    ]


def title(summary: dict[str, Any]) -> str:
    """Title of the report: the budget and the number of seeds."""
    seeds = len(summary["variants"][0]["runs"])
    return f"{EQUAL[summary['budget']]}; {seeds} seed{'s' if seeds > 1 else ''}"


def comparison_table(summary: dict[str, Any]) -> Table:
    """A row a variant."""
    made = Table(title=title(summary), caption=NOTES, caption_justify="left", box=box.SIMPLE_HEAD)
    made.add_column(HEADINGS[0], overflow="fold", ratio=1)
    for heading in HEADINGS[1:]:
        made.add_column(heading, justify="right")
    for variant in summary["variants"]:
        made.add_row(*_cells(variant))
    return made


def markdown(summary: dict[str, Any]) -> str:
    """The same table as Markdown."""
    lines = markdown_table(HEADINGS, (_cells(variant) for variant in summary["variants"]))
    return "\n".join([title(summary), "", *lines, "", NOTES])


def plot(summary: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws held-out loss against executed FLOPs and against seconds, 1,920 x 864 pixels.

    A line is the mean over a variant's seeds; the band around it spans them all.
    """
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key in ((left, "executed_flops"), (right, "seconds")):
        for variant in summary["variants"]:
            curves = [run["curve"] for run in variant["runs"]]
            x, loss = (np.array([[p[k] for p in c] for c in curves]) for k in (key, "loss"))
            mean = x.mean(0)
            (line,) = axes.plot(mean, loss.mean(0), marker="o", markersize=4, linewidth=1.8)
            line.set_label(variant["variant"])
            axes.fill_between(mean, loss.min(0), loss.max(0), color=line.get_color(), alpha=0.2)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.set(xlabel="training FLOPs executed", ylabel="held-out loss (nats per token)")
    right.set(xlabel="training seconds")
    figure.suptitle(f"{title(summary)}: mean and span")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", frameon=False)
    figure.savefig(path)
