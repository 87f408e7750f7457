"""A filled table for people: Markdown, a page, a picture, lines for the screen.

write(summary, "runs/tables/gpt3_3.9/mini")    # table.md, table.html, table.png
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_text
from gptjax.reports.markdown import markdown_table
from gptjax.reports.page import escaped, html_page, html_table, picture

HEAD = ("cell", "paper", "ours", "95% interval", "measured on", "configuration")
CLAIMS = ("claim", "effect", "95% interval", "outcome")
MODELS = ("configuration", "parameters", "training FLOPs", "seconds", "full form")


def write(summary: Mapping[str, Any], folder: str | os.PathLike[str]) -> None:
    """Writes table.md, table.html and table.png into a folder that is there."""
    path = Path(folder)
    write_text(path / "table.md", "\n".join([*markdown(summary), ""]))
    figure = _plot(summary)
    figure.savefig(path / "table.png", dpi=130)
    write_text(path / "table.html", _page(summary, figure))


def markdown(summary: Mapping[str, Any]) -> Iterator[str]:
    """The lines of table.md."""
    yield f"# {_title(summary)}"
    yield ""
    yield f"{summary['source']}. {summary['notes']}".strip()
    yield ""
    yield from markdown_table(HEAD, _cells(summary))
    if summary["claims"]:
        yield ""
        yield from markdown_table(CLAIMS, _claims(summary))
    yield ""
    yield from markdown_table(MODELS, _models(summary))


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The table and its claims for a screen."""
    yield _title(summary)
    for head, rows in ((HEAD, _cells(summary)), (CLAIMS, _claims(summary))):
        if not rows:
            continue
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
            yield "  ".join(cells).rstrip()
        yield ""


def _page(summary: Mapping[str, Any], figure: Any) -> str:
    body = [
        f"<p>{escaped(summary['source'])}. {escaped(summary['notes'])}</p>",
        html_table(HEAD, _cells(summary)),
        picture(figure, "ours beside the paper's value, a row a cell"),
    ]
    if summary["claims"]:
        body.append(html_table(CLAIMS, _claims(summary), words=True))
    body.append(html_table(MODELS, _models(summary), words=True))
    return html_page(_title(summary), body)


def _title(summary: Mapping[str, Any]) -> str:
    trained = any("flops" in model for model in summary["models"].values())
    seeds = f", {summary['seeds']} seeds" if trained else ""
    items = f", {summary['limit']} items of each eval" if summary["limit"] else ""
    return f"{summary['table']}: {summary['title']} ({summary['form']} form{seeds}{items})"


def _cells(summary: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for cell in summary["cells"]:
        unit = f" {cell['unit']}" if cell["unit"] else ""
        ours = cell["why"] if cell["ours"] is None else f"{_number(cell['ours'])}{unit}"
        interval = ""
        if cell["low"] is not None:
            interval = f"{_number(cell['low'])} to {_number(cell['high'])} ({cell['interval']})"
        published = "" if cell["published"] is None else f"{_number(cell['published'])}{unit}"
        name = f"{cell['row']}, {cell['column']}"
        rows.append([name, published, ours, interval, _how(cell["how"]), cell["model"]])
    return rows


def _how(how: Mapping[str, Any] | None) -> str:
    """What an eval was asked, or how much was translated."""
    if how is None:
        return ""
    if "shots" not in how:
        return f"{how['items']:,} pairs"
    cut = f", {how['cut']:,} cut" if how["cut"] else ""
    shots = "1 shot" if how["shots"] == 1 else f"{how['shots']} shots"
    return f"{how['items']:,} items, {shots}{cut}"


def _claims(summary: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for claim in summary["claims"]:
        effect = interval = ""
        if "effect" in claim:
            effect = f"{claim['effect']:+.3g} {claim['unit']}".strip()
        if "low" in claim:
            interval = f"{claim['low']:+.3g} to {claim['high']:+.3g}"
        rows.append([claim["claim"], effect, interval, claim["verdict"]])
    return rows


def _models(summary: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            key,
            f"{model['parameters']:,.0f}" if "parameters" in model else "",
            f"{model['flops']:.2e}" if "flops" in model else "",
            f"{model['seconds']:.0f}" if "seconds" in model else "",
            model["command"],
        ]
        for key, model in summary["models"].items()
    ]


def _number(value: float) -> str:
    """A number with four digits, with commas or a power of ten where it is large."""
    if abs(value) >= 1e7:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _plot(summary: Mapping[str, Any]) -> Any:
    """A row a cell: the paper's value as a ring, ours as a dot with its interval."""
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    columns = list(dict.fromkeys(cell["column"] for cell in summary["cells"]))
    rows = list(dict.fromkeys(cell["row"] for cell in summary["cells"]))
    size = (2 + 3.2 * len(columns), 1.4 + 0.35 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        for cell in summary["cells"]:
            if cell["column"] == column:
                _draw(axes, rows.index(cell["row"]), cell)
        unit = next(cell["unit"] for cell in summary["cells"] if cell["column"] == column)
        axes.set(title=column, xlabel=unit)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle("ring: the paper; dot: ours, with its 95% interval")
    return figure


def _draw(axes: Any, height: int, cell: Mapping[str, Any]) -> None:
    if cell["published"] is not None:
        axes.plot(cell["published"], height, "o", color="C1", mfc="none", ms=9)
    if cell["ours"] is not None:
        ends: Sequence[Sequence[float]] | None = None
        if cell["low"] is not None:
            ends = [[cell["ours"] - cell["low"]], [cell["high"] - cell["ours"]]]
        axes.errorbar(cell["ours"], height, xerr=ends, fmt="o", color="C0", capsize=3, ms=4)
