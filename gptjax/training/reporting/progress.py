"""Progress of a run on the console: a header, what takes time, a bar or lines, samples of text.

    with phase("tokenising"):
        task = kind.prepare(config)
    with Progress(num_steps) as progress:
        progress.say(*header_lines)
        progress.update(row)
        progress.evaluation(evaluation_row)

All is written to standard output, which of several processes only process 0 has.
"""

import contextlib
import datetime
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

PLAIN_LINE_SECONDS = 10.0

_FORMATS = {
    "loss": "loss {:.3f}",
    "accuracy": "accuracy {:.1%}",
    "matthews": "Matthews {:.3f}",
    "pearson": "Pearson {:.3f}",
    "reward": "reward {:.3f}",
    "score": "score {:.3f}",
    "kl": "kl {:.3f}",
    "bits_per_byte": "{:.3f} bits per byte",
    "tokens_per_second": "{:,.0f} tokens/s",
    "mfu": "MFU {:.0%}",
}


class Terminal(Console):
    """A console that raises BrokenPipeError as `print` does, where rich's ends the process."""

    def on_broken_pipe(self) -> None:
        """Passes on the error."""
        raise


@contextlib.contextmanager
def phase(
    name: str, file: IO[str] | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Says that a phase begins, and how long it took unless it fails; what is logged comes between.

    Args:
      name: "tokenising", say.
      file: None: standard output.
      clock: in seconds.
    """
    print(f"{name} ...", file=file, flush=True)
    began = clock()
    yield
    print(f"{name} took {clock() - began:.1f} s", file=file, flush=True)


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
        self._console = console or Terminal()
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

    def say(self, *lines: str) -> None:
        """Shows lines as they are, above the bar where there is one."""
        for line in lines:
            if self._bar is not None:
                self._bar.console.print(line, highlight=False, markup=False)
            else:
                print(line, file=self._console.file, flush=True)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Shows what goes on, and then how long it took."""
        if self._bar is None:
            with phase(name, self._console.file, self._clock):
                yield
            return
        began = self._clock()
        self._bar.update(self._task, figures=name)
        yield
        self.say(f"{name} took {self._clock() - began:.1f} s")

    def update(self, row: Mapping[str, Any]) -> None:
        """Shows a training row: `step`, and what it has of losses, scores, speed and both MFUs."""
        step, now = int(row["step"]), self._clock()
        self._start = self._start or (step, now)
        figures = "  ".join([*_figures(row), *self._left(step, now)])
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures=figures)
        elif now - self._printed >= PLAIN_LINE_SECONDS or step >= self._num_steps:
            self._printed = now
            self.say(f"step {step}/{self._num_steps}  {figures}")

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Shows an evaluation row: `step`, `split`, and what it has of losses and scores."""
        self.say(f"step {row['step']} {row['split']}: {'  '.join(_figures(row))}")

    def sample(self, step: int, prompt: str, text: str) -> None:
        """Shows what a model writes after a prompt, without what a terminal would obey."""
        shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
        self.say(f"step {step} sample: {prompt!r} goes on", *(f"  {x}" for x in shown.split("\n")))

    def _left(self, step: int, now: float) -> Iterator[str]:
        assert self._start is not None
        first_step, first_time = self._start
        if step > first_step:
            seconds_per_step = (now - first_time) / (step - first_step)
            left = round(seconds_per_step * (self._num_steps - step))
            yield f"{datetime.timedelta(seconds=left)} left"


def _figures(row: Mapping[str, Any]) -> Iterator[str]:
    """Yields `loss 3.214`, `12,345 tokens/s`, `MFU 41% (executed 38%)`, say."""
    for name, form in _FORMATS.items():
        if row.get(name) is not None:
            executed = row.get("executed_mfu") if name == "mfu" else None
            rest = "" if executed is None else f" (executed {executed:.0%})"
            yield form.format(row[name]) + rest
