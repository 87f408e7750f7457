"""Rows of metrics.jsonl: every figure of a run, which trackers are handed too.

    with MetricsWriter(workdir, trackers=lambda first_step: [tracker]) as writer:
        writer.truncate_after(restored_step)
        writer.write({"step": step, "loss": loss, "tokens": tokens, **throughput.take()})

A row is one JSON object. Training rows carry `step, loss, learning_rate, grad_norm, tokens,
tokens_per_second, mfu, executed_mfu`; evaluation rows `step, split, loss, tokens, perplexity,
bits_per_byte, bytes_of`, which says whose bytes those are (`token_stream`); rows of the split
"layers" lists with a number a layer. A loss is in nats, of a token of text or of a pair of ranked
answers. `tokens` were learned from by then, padding counts; of PPO they are those of its answers,
without prompts and padding. `seconds` of each row are those that the run has taken by then, over
all of its starts.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from gptjax.atomic_files import read_json_lines, write_json_lines
from gptjax.training.reporting.trackers import Tracker


class MetricsWriter:
    """Appends rows to `metrics.jsonl`, and hands their numbers to trackers; from process 0."""

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        enabled: bool | None = None,
        last_good_step: Callable[[], int | None] | None = None,
        trackers: Callable[[int], Sequence[Tracker]] = lambda first_step: (),
        began: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Opens nothing yet.

        Args:
          workdir: of the run.
          enabled: whether this process writes; None: process 0 does.
          last_good_step: which checkpoint there is, for the message where the disk is full.
          trackers: makes them, of the first step whose rows are to come.
          began: what `clock` said when this start of the run began; None: it says so now.
          clock: in seconds.
        """
        self.path = Path(workdir) / "metrics.jsonl"
        self._enabled = jax.process_index() == 0 if enabled is None else enabled
        self._last_good_step = last_good_step
        self._make_trackers = trackers
        self._clock, self._began = clock, clock() if began is None else began
        self._earlier: float | None = None  # seconds of earlier starts, once they are known
        self._file: TextIO | None = None
        self._trackers: Sequence[Tracker] = ()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken until now, over all of its starts."""
        return (self._earlier or 0.0) + self._clock() - self._began

    def truncate_after(self, step: int, seconds: float = 0.0) -> None:
        """Drops rows past `step`, atomically, and damaged lines; -1 drops all.

        Call it before the first row of a start or resumption, so that no step is there twice. It
        starts the trackers.

        Args:
          step: of the checkpoint that the run goes on from.
          seconds: what the run had taken when that was saved; rows may know of more.

        Raises:
          ValueError: the file cannot be written, or a tracker cannot start.
        """
        if not self._enabled:
            return
        self.close()
        try:
            there = self.path.exists()
            rows = read_metrics(self.path) if there else []
            if self._earlier is None:
                self._earlier = max([seconds, *(row.get("seconds", 0.0) for row in rows)])
            if there:
                write_json_lines(self.path, (row for row in rows if row["step"] <= step))
            self._trackers = self._make_trackers(step + 1)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row, which holds `step`; numbers that are not finite become null.

        Raises:
          ValueError: the disk is full or the file cannot be written.
        """
        if not self._enabled:
            return
        values = {name: _json(value) for name, value in row.items()} | {"seconds": self.seconds}
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", buffering=1)  # a line at a time
            self._file.write(json.dumps(values, allow_nan=False) + "\n")
            for tracker in self._trackers:
                tracker.log(int(row["step"]), _scalars(values))
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Ends the file and the trackers; `truncate_after` starts them again."""
        files, self._file, self._trackers = (self._file, *self._trackers), None, ()
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
    """Returns the rows of a metrics.jsonl in order, without damaged lines; a warning names those.

    Raises:
      ValueError: there is no such file.
    """
    try:
        return read_json_lines(path, number="step")
    except OSError as error:
        raise ValueError(f"cannot read metrics from {path}: {error.strerror}") from error


def _scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row by their split and name; of a list, one an entry."""
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
