"""Metrics of a run: metrics.jsonl, TensorBoard, a progress bar, a loss curve.

    with Progress(num_steps) as progress, MetricsWriter(workdir) as writer:
        writer.truncate_after(restored_step)
        row = {"step": step, "loss": loss, **throughput.take()}
        writer.write(row)
        progress.update(row)
    plot_curve(workdir / "metrics.jsonl", workdir / "loss.png", title="demo")

A row of metrics.jsonl is one JSON object. Training rows carry `step, loss, learning_rate,
grad_norm, tokens_per_second, mfu, executed_mfu`; evaluation rows `step, split, loss, perplexity,
bits_per_byte`; rows of the split "layers" lists with a number a layer. A loss is in nats, of a
token of text or of a pair of ranked answers.
"""

import contextlib
import datetime
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from gptjax.atomic_files import write_json_lines
from gptjax.training.reporting.tensorboard import EventFile

PLAIN_LINE_SECONDS = 10.0


class MetricsWriter:
    """Appends rows to `metrics.jsonl` and to TensorBoard, under `tensorboard/`; from process 0."""

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        enabled: bool | None = None,
        last_good_step: Callable[[], int | None] | None = None,
    ):
        """Opens nothing yet.

        Args:
          workdir: of the run.
          enabled: whether this process writes; None: process 0 does.
          last_good_step: which checkpoint there is, for the message where the disk is full.
        """
        self.path = Path(workdir) / "metrics.jsonl"
        self._enabled = jax.process_index() == 0 if enabled is None else enabled
        self._last_good_step = last_good_step
        self._file: TextIO | None = None
        self._events: EventFile | None = None

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def truncate_after(self, step: int) -> None:
        """Drops rows past `step`, atomically, and a torn last line; -1 drops all.

        Call it before the first row of a start or resumption, so that no step is there twice.

        Raises:
          ValueError: the file is damaged elsewhere, or cannot be written.
        """
        if not self._enabled:
            return
        self.close()
        try:
            self._events = EventFile(self.path.parent / "tensorboard", step + 1)
            if not self.path.exists():
                return
            rows = [row for row in read_metrics(self.path) if row["step"] <= step]
            write_json_lines(self.path, rows)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row, which holds `step`; numbers that are not finite become null.

        Raises:
          ValueError: the disk is full or the file cannot be written.
        """
        if not self._enabled:
            return
        values = {name: _json(value) for name, value in row.items()}
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", buffering=1)  # a line at a time
            self._file.write(json.dumps(values, allow_nan=False) + "\n")
            if self._events is None:
                self._events = EventFile(self.path.parent / "tensorboard")
            self._events.write(values["step"], _scalars(values))
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Ends both files; a later `write` opens them again."""
        files, self._file, self._events = (self._file, self._events), None, None
        for file in files:
            # What could not be written was an error when it came.
            with contextlib.suppress(OSError):
                if file is not None:
                    file.close()

    def _unwritable(self, error: OSError) -> ValueError:
        last = ""
        if self._last_good_step is not None:
            good = self._last_good_step()
            last = f"; last good checkpoint: {'none' if good is None else good}"
        return ValueError(
            f"cannot write {error.filename or self.path}: {error.strerror}; expected a writable "
            f"disk{last}"
        )


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns the rows of a metrics.jsonl in order, without a torn last line.

    Raises:
      ValueError: there is no such file, or a line before the last is not a JSON object.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise ValueError(f"cannot read metrics from {path}: {error.strerror}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path} line {number} is {line[:40]!r}; expected JSON") from error
        rows.append(row)
    return rows


def plot_curve(
    metrics_path: str | os.PathLike,
    png_path: str | os.PathLike,
    title: str,
    figure_name: str = "loss",
    axis: str = "loss (nats per token)",
) -> None:
    """Draws a figure of training and validation against step, with bits per byte on the right.

    Args:
      metrics_path: a metrics.jsonl.
      png_path: picture to write, 1,440 x 864 pixels.
      title: heading of the picture.
      figure_name: in the rows.
      axis: what it is called, with its unit.
    """
    # Takes 1 s, and more where its font cache is built: only runs that have ended draw.
    from matplotlib.figure import Figure

    rows = [row for row in read_metrics(metrics_path) if row.get(figure_name) is not None]
    training = np.array([(row["step"], row[figure_name]) for row in rows if "split" not in row])
    evaluations = [row for row in rows if "split" in row]
    figure = Figure(figsize=(9, 5.4), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    if len(training):
        steps, losses = training.T
        window = max(1, len(losses) // 40)
        weights = np.convolve(np.ones_like(losses), np.ones(window), "same")
        smooth = np.convolve(losses, np.ones(window), "same") / weights
        axes.plot(steps, losses, color="tab:blue", alpha=0.3, linewidth=1)
        label = f"training, mean of {window}" if window > 1 else "training"
        axes.plot(steps, smooth, color="tab:blue", linewidth=1.8, label=label)
    for split, color in zip(
        dict.fromkeys(row["split"] for row in evaluations),
        ("tab:orange", "tab:green", "tab:red", "tab:purple"),
        strict=False,
    ):
        chosen = [row for row in evaluations if row["split"] == split]
        points = np.array([(row["step"], row[figure_name]) for row in chosen])
        label = f"{split}, last {points[-1, 1]:.3f}"
        if chosen[-1].get("bits_per_byte") is not None:
            label += f" ({chosen[-1]['bits_per_byte']:.3f} bits per byte)"
        axes.plot(*points.T, color=color, marker="o", markersize=4, linewidth=1.8, label=label)
    axes.set(xlabel="step", ylabel=axis, title=title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    measured = [row for row in evaluations if row.get("bits_per_byte") is not None]
    if measured:
        # Over the same documents, bits per byte are the loss times a constant.
        ratio = measured[-1]["bits_per_byte"] / measured[-1]["loss"]
        right = axes.secondary_yaxis("right", functions=(lambda y: y * ratio, lambda y: y / ratio))
        right.set_ylabel(f"{measured[-1]['split']} bits per byte")
    if rows:
        axes.legend(frameon=False)
    figure.savefig(png_path)


class Progress:
    """A progress bar with step, loss or score and KL, tokens/s, MFU, time left; or plain lines."""

    def __init__(
        self,
        num_steps: int,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`num_steps`: the step at which the run ends."""
        self._num_steps = num_steps
        self._console = console or Console()
        self._clock = clock
        self._start: tuple[int, float] | None = None
        self._printed = -math.inf
        self._bar: RichProgress | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            columns = (
                TextColumn("step {task.completed}/{task.total}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[figures]}"),
            )
            self._bar = RichProgress(
                *columns, console=self._console, expand=True, refresh_per_second=2
            )
            self._task = self._bar.add_task("train", total=num_steps, figures="starting")

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, row: Mapping[str, Any]) -> None:
        """Shows a training row: `step`, and what it has of loss, score, kl, speed and both MFUs."""
        step, now = int(row["step"]), self._clock()
        self._start = self._start or (step, now)
        figures = self._figures(row, now)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures=figures)
        elif now - self._printed >= PLAIN_LINE_SECONDS or step >= self._num_steps:
            self._printed = now
            print(f"step {step}/{self._num_steps}  {figures}", file=self._console.file, flush=True)

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Shows an evaluation row: `step`, `split`, `loss` and, where it has it, bits per byte."""
        bits = row.get("bits_per_byte")
        rest = "" if bits is None else f"  {bits:.3f} bits per byte"
        line = f"step {row['step']} {row['split']}: loss {row['loss']:.3f}{rest}"
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, file=self._console.file, flush=True)

    def _figures(self, row: Mapping[str, Any], now: float) -> str:
        """Returns `loss 3.214  12,345 tokens/s  MFU 41% (executed 38%)  0:01:23 left`, say."""
        figures = []
        for name in ("loss", "score", "kl"):
            if row.get(name) is not None:
                figures.append(f"{name} {row[name]:.3f}")
        if row.get("tokens_per_second") is not None:
            figures.append(f"{row['tokens_per_second']:,.0f} tokens/s")
        if row.get("mfu") is not None:
            executed = row.get("executed_mfu")
            rest = "" if executed is None else f" (executed {executed:.0%})"
            figures.append(f"MFU {row['mfu']:.0%}{rest}")
        assert self._start is not None
        first_step, first_time = self._start
        if row["step"] > first_step:
            seconds_per_step = (now - first_time) / (row["step"] - first_step)
            left = round(seconds_per_step * (self._num_steps - row["step"]))
            figures.append(f"{datetime.timedelta(seconds=left)} left")
        return "  ".join(figures)


def _scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row by TensorBoard's tags; of a list, one an entry."""
    split, scalars = row.get("split", "train"), {}
    for name, value in row.items():
        if isinstance(value, list):
            scalars |= {f"{split}/{name}/{i:03}": entry for i, entry in enumerate(value)}
        elif name not in ("step", "split"):
            scalars[f"{split}/{name}"] = value
    return {tag: value for tag, value in scalars.items() if isinstance(value, int | float)}


def _json(value: Any) -> Any:
    """Numbers, alone or in lists, a string or None as JSON holds them; not finite ones are None."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.tolist()
    if isinstance(value, list):
        return [_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
