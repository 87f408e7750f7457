r"""The results of a study of evals for people: lines for the screen, a page, and files.

    print("\n".join(lines(study)))
    write(study, "runs/lm/evals")

The folder gets evals.json (figures, differences, provenance), examples.jsonl (a row an item), and
evals.html: the figures with their intervals, and of each task the items that a person would want to
see: those that the model got right and wrong with the greatest margin, and the closest.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_json, write_json_lines, write_text
from gptjax.evals.evaluation import Result
from gptjax.evals.study import Study
from gptjax.reports.page import escaped, html_page, html_table, picture
from gptjax.runs.provenance import provenance

_SHOWN = 3  # items of a kind
_PROMPT = 600  # characters of a prompt on a page, its end
_AS_SHARES = ("accuracy", "exact_match", "f1", "mc1", "mc2", "pass")


def lines(study: Study) -> Iterator[str]:
    """A table of all figures, and one of the differences between models."""
    rows = [_cells(row) for row in study.rows()]
    yield from _aligned(("model", "task", "shots", "items", "figure", "95% interval", "else"), rows)
    for row in study.rows():
        if row["cut"]:
            yield (
                f"{row['model']}: {row['task']}: the contexts of {row['cut']} of {row['items']} "
                "items were cut to fit"
            )
    differences = study.differences()
    if differences:
        yield ""
        yield from _aligned(
            ("task", "shots", "first minus second", "difference", "95% interval", "p"),
            [_difference_cells(row) for row in differences],
        )


def write(study: Study, folder: str | os.PathLike[str], command: str = "") -> None:
    """Writes evals.json, examples.jsonl and evals.html; `command` is named on the page."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    values = {
        "evals": study.rows(),
        "differences": study.differences(),
        "seconds": {name: round(seconds, 3) for name, seconds in study.seconds.items()},
        **provenance(),
    }
    write_json(path / "evals.json", values)
    write_json_lines(path / "examples.jsonl", study.examples())
    write_text(path / "evals.html", page(study, command))


def page(study: Study, command: str = "") -> str:
    """The HTML of a page."""
    head = ("model", "task", "shots", "items", "figure", "95% interval", "other figures")
    body = [
        f"<p>{escaped(command)}</p>" if command else "",
        html_table(head, [_cells(row) for row in study.rows()]),
        picture(_dots(study), "each figure as a dot with its 95% interval"),
    ]
    differences = study.differences()
    if differences:
        head = ("task", "shots", "first minus second", "difference", "95% interval", "p")
        body.append(html_table(head, [_difference_cells(row) for row in differences]))
    for name, results in study.results.items():
        for result in results:
            body += _examples(name, result)
    return html_page("Evals", body)


def _cells(row: Mapping[str, Any]) -> list[str]:
    """A row of the table of figures."""
    (name, first), *others = row["figures"].items()
    rest = [f"{key} {_value(key, of['value'])}" for key, of in others]
    if "clean" in row:
        clean = row["clean"]["figures"][name]
        rest.append(f"{_value(name, clean['value'])} of {row['clean']['items']} clean items")
    interval = f"{_value(name, first['low'])} to {_value(name, first['high'])}"
    return [
        row["model"],
        row["task"],
        str(row["shots"]),
        f"{row['items']:,}",
        f"{name} {_value(name, first['value'])}",
        interval,
        ", ".join(rest),
    ]


def _difference_cells(row: Mapping[str, Any]) -> list[str]:
    name = row["figure"]
    first, second = row["shots"]
    return [
        row["task"],
        str(first) if first == second else f"{first}, {second}",
        f"{row['first']} minus {row['second']}",
        f"{name} {_value(name, row['value'], signed=True)}",
        f"{_value(name, row['low'], signed=True)} to {_value(name, row['high'], signed=True)}",
        f"{row['p_value']:.3g} ({row['test']})",
    ]


def _value(name: str, value: float, signed: bool = False) -> str:
    """A share as percent, another figure with as many digits as it needs."""
    sign = "+" if signed else ""
    if name.startswith(_AS_SHARES):
        return f"{100 * value:{sign}.1f}%"
    return f"{value:{sign}.4g}"


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def _examples(name: str, result: Result) -> Iterator[str]:
    """Items of one result: right and wrong with the greatest margin, and the closest."""
    order = sorted(range(len(result.ids)), key=lambda i: result.judged[i].margin)
    wrong = [i for i in order if result.judged[i].margin <= 0][:_SHOWN]
    right = [i for i in reversed(order) if result.judged[i].margin > 0][:_SHOWN]
    taken = {*wrong, *right}
    closest = sorted(
        (i for i in order if i not in taken), key=lambda i: abs(result.judged[i].margin)
    )
    yield f"<section><h2>{escaped(name)}: {escaped(result.task)}, {result.shots} shots</h2>"
    yield f"<p>{escaped(result.protocol)}</p>"
    for title, chosen in (("right", right), ("wrong", wrong), ("closest", closest[:_SHOWN])):
        for i in chosen:
            judged, prompt = result.judged[i], result.prompts[i]
            cut = "… " if len(prompt) > _PROMPT else ""
            yield (
                f'<div class="prompt"><span class="role">{title}: {escaped(result.ids[i])}</span>'
                f"{cut}{escaped(prompt[-_PROMPT:])}</div>"
            )
            yield '<div class="answers">'
            yield f'<article><p class="system">answer</p>{escaped(judged.given)}'
            yield f'<p class="rewards">margin {judged.margin:.3f}</p></article>'
            yield (
                '<article class="best"><p class="system">right</p>'
                f"{escaped(judged.expected)}</article></div>"
            )
    yield "</section>"


def _dots(study: Study) -> Any:
    """A panel a task: a dot with its interval for each model and number of shots."""
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    rows = study.rows()
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    most = max(sum(row["task"] == task for row in rows) for task in tasks)
    figure = Figure(figsize=(8, len(tasks) * (0.7 + 0.3 * most)), layout="constrained")
    panels = figure.subplots(len(tasks), 1, squeeze=False)[:, 0]
    for axes, task in zip(panels, tasks, strict=True):
        of = [row for row in rows if row["task"] == task]
        for height, row in enumerate(of):
            value = next(iter(row["figures"].values()))
            ends = [[value["value"] - value["low"]], [value["high"] - value["value"]]]
            axes.errorbar(value["value"], height, xerr=ends, fmt="o", color="C0", capsize=3)
        names = [f"{row['model']}, {row['shots']} shots" for row in of]
        axes.set_yticks(range(len(of)), names)
        axes.set(title=task, xlabel=next(iter(of[0]["figures"])), ylim=(len(of) - 0.5, -0.5))
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
