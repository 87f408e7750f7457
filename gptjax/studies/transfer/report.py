"""The summary of a transfer study for people: Markdown, and a picture of dots with intervals.

print(markdown(summary))
plot(summary, "runs/beside/transfer.png")
"""

import os
from collections.abc import Iterator
from typing import Any

from gptjax.reports.markdown import markdown_table

NOTES = """\
Figures are of the held-out examples after the last step of the fine-tuning: the mean over seeds, ±
half its 95% interval (Student's t). Each seed pretrains and fine-tunes anew. A difference is the
system's figure less that of the first system with the same seed; where its interval holds 0, the
seeds do not tell the two apart. The losses of a masked and of a left-to-right language model are
different quantities."""


def markdown(summary: dict[str, Any]) -> str:
    """Figures, differences to the first system, and the costs of the pretraining."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    tasks, seeds = summary["tasks"], len(summary["seeds"])
    systems = list(next(iter(tasks.values()))["systems"])
    yield f"Pretraining: equal {summary['budget']}. {seeds} seed{'s' if seeds > 1 else ''}."
    yield ""
    headings = ["system", *(f"{name}, {task['metric']}" for name, task in tasks.items())]
    rows = [
        [name, *(_measured(task["systems"][name]["figure"]) for task in tasks.values())]
        for name in systems
    ]
    most = [task["majority_share"] for task in tasks.values()]
    if any(share is not None for share in most):
        rows.append(["most frequent label", *(_share(task) for task in tasks.values())])
    yield from markdown_table(headings, rows)
    yield ""
    yield f"Differences to {systems[0]}, seed by seed:"
    yield ""
    yield from markdown_table(
        headings,
        [
            [name, *(_measured(task["systems"][name]["less_first"]) for task in tasks.values())]
            for name in systems[1:]
        ],
    )
    yield ""
    yield "Pretraining of a seed:"
    yield ""
    yield from markdown_table(
        ["model", "kind", "parameters", "steps", "tokens", "FLOPs", "held-out loss"],
        [
            [
                name,
                row["kind"],
                f"{row['parameters']:,}",
                f"{row['num_steps']:,}",
                f"{row['tokens']:,}",
                f"{row['executed_flops']:.3e}",
                f"{row['loss']:.3f}",
            ]
            for name, row in summary["pretraining"].items()
        ],
    )
    yield ""
    yield NOTES


def _measured(value: dict[str, float]) -> str:
    mean, half_width = value["mean"], value["half_width"]
    return f"{mean:.3f}" if half_width is None else f"{mean:.3f} ± {half_width:.3f}"


def _share(task: dict[str, Any]) -> str:
    """The accuracy of who always says the most frequent label; other metrics have none."""
    share = task["majority_share"]
    return f"{share:.3f}" if share is not None and task["metric"] == "accuracy" else ""


def plot(summary: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws a panel a task: each system's seeds, mean and interval."""
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    tasks = summary["tasks"]
    systems = list(next(iter(tasks.values()))["systems"])
    size = (3 + 3 * len(tasks), 1.2 + 0.4 * len(systems))
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, (name, task) in zip(panels, tasks.items(), strict=True):
        for height, system in enumerate(systems):
            found = task["systems"][system]
            mean, half_width = found["figure"]["mean"], found["figure"]["half_width"] or 0.0
            axes.errorbar(mean, height, xerr=half_width, fmt="o", color="C0", capsize=3)
            axes.plot(found["values"], [height] * len(found["values"]), "|", color="C1")
        axes.set(xlabel=task["metric"], title=name)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(systems)), systems)
    panels[0].invert_yaxis()
    figure.suptitle("mean, 95% interval and seeds")
    figure.savefig(path)
