"""The summary of a comparison for people: tables, on screen and as Markdown, and a picture.

Console().print(comparison_tables(summary))
plot(summary, "runs/compare/comparison.png")
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table

from gptjax.reports.markdown import markdown_table

EQUAL = {
    "tokens": "equal training tokens",
    "flops": "equal executed training FLOPs",
    "seconds": "equal training seconds, as far as the steps timed for measured.json tell",
}
NOTES = """\
Each figure is of the held-out examples after the last step: the mean over seeds, ± half its 95%
interval (Student's t). comparison.json has each run and the standard deviations too. A difference
is the variant's figure less that of the first variant's run with the same seed; where its interval
holds 0, the seeds do not tell the two apart.
"""
NOTES_OF = {
    "loss": "loss: of language models in nats a token. Of variants that look ahead, all are judged "
    "on the targets\nthat none of them lets an earlier token see.",
    "bits_per_byte": "bits per byte: of the documents, or, where the tokenizer loses text, of what "
    "the tokens decode to;\n`bytes_of` in comparison.json says which.",
}
LOSS_DIFFERS = (
    "The loss is left out: the variants change what it measures, and their losses are different "
    "quantities."
)
NOTES_OF_COST = """\
seconds: of training steps alone. FLOPs: executed in training, by formula, with the attention pairs
that are computed; FLOPs if dense: the same with every pair of positions. attended: pairs of
positions that may attend, as a share of the T (T + 1) / 2 causal ones. MiB: memory of the compiled
training step on each device, as XLA plans it.
"""
COSTS = {
    "training steps": lambda row: f"{row['num_steps']:,}",
    "parameters": lambda row: f"{row['parameters']:,}",
    "tokens": lambda row: f"{row['tokens']:,}",
    "FLOPs": lambda row: f"{row['executed_flops']:.3e}",
    "FLOPs if dense": lambda row: f"{row['dense_equivalent_flops']:.3e}",
    "attended": lambda row: f"{row['density']:.3f}",
    "seconds": lambda row: f"{row['seconds']:,.1f}",
    "tokens per second": lambda row: f"{row['tokens_per_second']:,.0f}",
    "MiB": lambda row: f"{row['memory_bytes'] / 2**20:,.1f}",
}
Part = tuple[str, list[str], list[list[str]]]  # what it shows, headings, and a row a variant


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1e5 else f"{value:.3e}"


def _measured(value: dict[str, float] | None) -> str:
    if value is None:
        return ""
    mean, half_width = value["mean"], value["half_width"]
    return _number(mean) if half_width is None else f"{_number(mean)} ± {_number(half_width)}"


def _parts(summary: dict[str, Any]) -> Iterator[Part]:
    """The tables: figures, differences, and costs."""
    rows, figures = summary["variants"], summary["figures"]
    first, headings = rows[0]["variant"], ["variant", *map(_words, figures)]
    yield (
        "Held-out figures",
        headings,
        [[row["variant"], *(_measured(row[name]) for name in figures)] for row in rows],
    )
    yield (
        f"Differences to {first}, seed by seed",
        headings,
        [
            [row["variant"], *(_measured(row[f"{name}_less_first"]) for name in figures)]
            for row in rows[1:]
        ],
    )
    costs = dict(COSTS)
    if len({row["density"] for row in rows}) == 1:
        del costs["attended"]
    yield (
        "Cost of a run",
        ["variant", *costs],
        [[row["variant"], *(shown(row) for shown in costs.values())] for row in rows],
    )


def _notes(summary: dict[str, Any]) -> str:
    lines = [NOTES, *(f"{NOTES_OF[name]}\n" for name in summary["figures"] if name in NOTES_OF)]
    if "loss" not in summary["figures"]:
        lines.append(f"{LOSS_DIFFERS}\n")
    return "".join([*lines, NOTES_OF_COST])


def title(summary: dict[str, Any]) -> str:
    """Title of the report: the budget and the number of seeds."""
    seeds = len(summary["variants"][0]["runs"])
    return f"{EQUAL[summary['budget']]}; {seeds} seed{'s' if seeds > 1 else ''}"


def comparison_tables(summary: dict[str, Any]) -> Group:
    """The tables for a terminal, a row a variant."""
    made: list[Any] = [title(summary)]
    for said, headings, rows in _parts(summary):
        table = Table(title=said, title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column(headings[0], overflow="fold")
        for heading in headings[1:]:
            table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(*row)
        made.append(table)
    return Group(*made, _notes(summary))


def markdown(summary: dict[str, Any]) -> str:
    """The same tables as Markdown."""
    lines = [title(summary), ""]
    for said, headings, rows in _parts(summary):
        lines += [f"{said}:", "", *markdown_table(headings, rows), ""]
    return "\n".join([*lines, _notes(summary)])


def plot(summary: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws the held-out figure against executed FLOPs and against seconds, 1,920 x 864 pixels.

    A line is the mean over a variant's seeds; the band around it spans them all.
    """
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = ("executed_flops", summary["figure"]), ("seconds", summary["figure"])
    for axes, keys in zip((left, right), names, strict=True):
        for variant in summary["variants"]:
            curves = [run["curve"] for run in variant["runs"]]
            x, y = (np.array([[p[k] for p in c] for c in curves], float) for k in keys)
            mean = x.mean(0)
            (line,) = axes.plot(mean, y.mean(0), marker="o", markersize=4, linewidth=1.8)
            line.set_label(variant["variant"])
            axes.fill_between(mean, y.min(0), y.max(0), color=line.get_color(), alpha=0.2)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.set(xlabel="training FLOPs executed", ylabel=f"held-out {summary['axis']}")
    right.set(xlabel="training seconds")
    figure.suptitle(f"{title(summary)}: mean and span")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", frameon=False)
    figure.savefig(path)
