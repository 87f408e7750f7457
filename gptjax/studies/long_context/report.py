"""What a study of long contexts found, for people: Markdown, curves, and heat maps.

print(markdown(report))
plot_losses(report, "losses.png")
plot_retrieval(report, "retrieval.png")
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gptjax.reports.markdown import markdown_table

NOTES = """\
Losses are nats a token of held-out documents, ± half the 95% interval over windows (Student's t);
every way reads the same windows, each within one document. "gain" is how many nats more probable an
answer is than with the sentence taken out, the mean of all depths; "exact" is the share that greedy
decoding answers."""


def named(row: Mapping[str, Any]) -> str:
    """A row's way, and how long it was trained."""
    return f"{row['way']}, {row['steps']} steps" if row["steps"] else row["way"]


def markdown(report: Mapping[str, Any]) -> str:
    """Losses by range of positions, and what was found far back."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    rows = report["rows"]
    widest = max((row["ranges"] for row in rows), key=len)
    headings = ["way", *(f"{each['begin']} to {each['end']}" for each in widest)]
    yield (
        f"Trained context: {report['context_length']:,} tokens; extended {report['factor']:g} "
        f"times. Held-out windows of {report['window_length']:,} tokens: {report['windows']}."
    )
    yield ""
    yield from markdown_table(headings, [_losses(row, len(widest)) for row in rows])
    if any(row["retrieval"] for row in rows):
        yield ""
        yield from _retrieval(rows)
    yield ""
    yield NOTES


def _losses(row: Mapping[str, Any], columns: int) -> list[str]:
    cells = [_measured(each["loss"], each["half_width"]) for each in row["ranges"]]
    return [named(row), *cells, *[""] * (columns - len(cells))]


def _measured(mean: float, half_width: float | None) -> str:
    return f"{mean:.3f}" if half_width is None else f"{mean:.3f} ± {half_width:.3f}"


def _retrieval(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    judged = [row for row in rows if row["retrieval"]]
    lengths = sorted(
        {
            (kind, each["length"])
            for row in judged
            for kind in row["retrieval"]
            for each in row["retrieval"][kind]
        }
    )
    headings = ["way", *(f"{kind} at {length}: gain, exact" for kind, length in lengths)]
    table = []
    for row in judged:
        cells = []
        for kind, length in lengths:
            found = [each for each in row["retrieval"].get(kind, ()) if each["length"] == length]
            gain, exact = (
                float(np.mean([each[name] for each in found])) if found else None
                for name in ("gain", "exact")
            )
            cells.append("" if gain is None else f"{gain:+.2f}, {exact:.0%}")
        table.append([named(row), *cells])
    yield from markdown_table(headings, table)


def plot_losses(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws the loss against the position, a curve a way with its interval."""
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    for number, row in enumerate(report["rows"]):
        at = [(each["begin"] + each["end"]) / 2 for each in row["curve"]]
        loss = np.array([each["loss"] for each in row["curve"]])
        wide = np.array([each["half_width"] or 0.0 for each in row["curve"]])
        color, line = f"C{number % 10}", "-" if row["steps"] else "--"
        axes.plot(at, loss, line, color=color, label=named(row))
        axes.fill_between(at, loss - wide, loss + wide, color=color, alpha=0.12)
    context = report["context_length"]
    axes.axvline(context, color="black", linewidth=0.8)
    axes.axvline(report["factor"] * context, color="black", linewidth=0.8, linestyle=":")
    trained = min(each["loss"] for row in report["rows"] for each in row["curve"])
    axes.set_ylim(0.95 * trained, 1.6 * trained)
    axes.set(xlabel="position, tokens", ylabel="loss, nats a token")
    axes.set_title("loss by position; trained context solid, extended context dotted", fontsize=9)
    axes.legend(fontsize=7, ncols=2)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def plot_retrieval(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws a heat map of gains by depth and length, a row a way, a column a kind."""
    from matplotlib.figure import Figure

    rows = [row for row in report["rows"] if row["retrieval"]]
    kinds = sorted({kind for row in rows for kind in row["retrieval"]})
    figure = Figure(figsize=(4.2 * len(kinds), 2.1 * len(rows)), dpi=160, layout="constrained")
    panels = figure.subplots(len(rows), len(kinds), squeeze=False)
    places = [each for row in rows for found in row["retrieval"].values() for each in found]
    most = max(1e-3, *(each["gain"] for each in places))
    for row, line in zip(rows, panels, strict=True):
        for kind, axes in zip(kinds, line, strict=True):
            found = row["retrieval"].get(kind)
            if found is None:
                axes.set_axis_off()
                continue
            lengths, depths = (
                sorted({each[name] for each in found}) for name in ("length", "depth")
            )
            gains = np.array([each["gain"] for each in found]).reshape(len(lengths), len(depths)).T
            exact = np.array([each["exact"] for each in found]).reshape(gains.T.shape).T
            axes.imshow(gains, vmin=0.0, vmax=most, cmap="viridis", aspect="auto")
            for (i, j), share in np.ndenumerate(exact):
                color = "black" if gains[i, j] > 0.6 * most else "white"
                axes.text(j, i, f"{share:.0%}", ha="center", va="center", color=color, fontsize=6)
            axes.set_xticks(range(len(lengths)), [str(length) for length in lengths], fontsize=7)
            axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths], fontsize=7)
            axes.set_title(f"{kind}: {named(row)}", fontsize=8)
    drawn = next(axes.images[0] for axes in panels.flat if axes.images)
    figure.colorbar(drawn, ax=panels, label="gain, nats")
    figure.supxlabel("length, tokens", fontsize=8)
    figure.supylabel("depth of the sentence; numbers: share answered", fontsize=8)
    figure.savefig(path)
