"""Picture of a run: its figures against steps, redrawn while it goes on.

plot_curves(workdir / "metrics.jsonl", workdir / "loss.png", "demo", LOSS)
picture = Picture(workdir / "metrics.jsonl", workdir / "loss.png", "demo", LOSS)
picture.redraw()   # whenever there is more to see
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gptjax.atomic_files import replaced
from gptjax.training.reporting.metrics import read_metrics

Curves = Sequence[tuple[str, str]]  # figures of rows, and what their axes are called

REDRAW_SECONDS = 15.0
_COLORS = ("tab:orange", "tab:green", "tab:red", "tab:purple")


class Picture:
    """A picture that is redrawn at most every 15 seconds: drawing takes one, and the steps wait."""

    def __init__(
        self,
        metrics_path: str | os.PathLike,
        png_path: str | os.PathLike,
        title: str,
        curves: Curves,
        clock: Callable[[], float] = time.monotonic,
    ):
        """The arguments are those of `plot_curves`; `clock` is in seconds."""
        self._given, self._clock = (metrics_path, png_path, title, curves), clock
        self._drawn = clock()

    def redraw(self) -> None:
        """Draws the rows there are, unless it has just done so."""
        if self._clock() - self._drawn >= REDRAW_SECONDS:
            self.draw()
            self._drawn = self._clock()

    def draw(self) -> None:
        """Draws the rows there are."""
        plot_curves(*self._given)


def plot_curves(
    metrics_path: str | os.PathLike, png_path: str | os.PathLike, title: str, curves: Curves
) -> None:
    """Draws figures of training and validation against step, one below the other.

    A loss of text has bits per byte on the right. The file is whole whenever it is read.

    Args:
      metrics_path: a metrics.jsonl.
      png_path: picture to write, 1,440 pixels wide.
      title: heading of the picture.
      curves: each figure, by its name in the rows, and what its axis is called, with its unit.
    """
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    rows = read_metrics(metrics_path)
    height = 5.4 if len(curves) == 1 else 3.0 * len(curves)
    figure = Figure(figsize=(9, height), dpi=160, layout="constrained")
    panels = figure.subplots(len(curves), squeeze=False, sharex=True)[:, 0]
    for axes, (name, axis) in zip(panels, curves, strict=True):
        _plot(axes, name, [row for row in rows if row.get(name) is not None])
        axes.set(ylabel=axis)
    panels[0].set(title=title)
    panels[-1].set(xlabel="step")
    with replaced(png_path, "wb") as file:
        figure.savefig(file, format="png")


def _plot(axes: Any, name: str, rows: list[dict[str, Any]]) -> None:
    training = np.array([(row["step"], row[name]) for row in rows if "split" not in row])
    evaluations = [row for row in rows if "split" in row]
    if len(training):
        steps, values = training.T
        window = max(1, len(values) // 40)
        weights = np.convolve(np.ones_like(values), np.ones(window), "same")
        smooth = np.convolve(values, np.ones(window), "same") / weights
        axes.plot(steps, values, color="tab:blue", alpha=0.3, linewidth=1)
        label = f"training, mean of {window}" if window > 1 else "training"
        axes.plot(steps, smooth, color="tab:blue", linewidth=1.8, label=label)
    splits = dict.fromkeys(row["split"] for row in evaluations)
    for split, color in zip(splits, _COLORS, strict=False):
        chosen = [row for row in evaluations if row["split"] == split]
        points = np.array([(row["step"], row[name]) for row in chosen])
        label = f"{split}, last {points[-1, 1]:.3f}"
        if name == "loss" and chosen[-1].get("bits_per_byte") is not None:
            label += f" ({chosen[-1]['bits_per_byte']:.3f} bits per byte)"
        axes.plot(*points.T, color=color, marker="o", markersize=4, linewidth=1.8, label=label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    measured = [row for row in evaluations if row.get("bits_per_byte") is not None]
    if measured and name == "loss":
        # Over the same documents, bits per byte are the loss times a constant.
        ratio = measured[-1]["bits_per_byte"] / measured[-1]["loss"]
        right = axes.secondary_yaxis("right", functions=(lambda y: y * ratio, lambda y: y / ratio))
        right.set_ylabel(f"{measured[-1]['split']} bits per byte")
    if rows:
        axes.legend(frameon=False)
