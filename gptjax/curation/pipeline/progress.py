"""Progress of a preparation on the console: the phase, a bar of its tasks, and the time left.

with PhaseBar() as bar:
    bar.phase("read", tasks=200, done=0)
    bar.advance()

Where the output is no terminal, a line is written at the start of each phase and every ten seconds.
"""

import math
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_LINE_SECONDS = 10.0


class PhaseBar:
    """A bar on a terminal, or plain lines."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic):
        """`clock`: in seconds."""
        self._console = console or Console()
        self._clock = clock
        self._began, self._printed = clock(), -math.inf
        self._name, self._tasks, self._done, self._before = "", 0, 0, 0
        self._bar: Progress | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=self._console,
                expand=True,
                refresh_per_second=4,
            )

    def __enter__(self) -> "PhaseBar":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def phase(self, name: str, tasks: int, done: int) -> None:
        """A phase begins, of whose tasks some were done in an earlier life."""
        self._name, self._tasks, self._done, self._before = name, tasks, done, done
        self._began, self._printed = self._clock(), self._clock()
        shown = name.replace("_", " ")
        if self._bar is not None:
            self._bar.add_task(shown, total=tasks, completed=done)
        elif tasks > done:
            before = f", {done} of them done before" if done else ""
            print(f"{shown}: {tasks} tasks{before}", file=self._console.file, flush=True)

    def advance(self) -> None:
        """A task has ended."""
        self._done += 1
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[-1])
        elif self._clock() - self._printed >= PLAIN_LINE_SECONDS and self._done < self._tasks:
            self._printed = self._clock()
            seconds = (self._clock() - self._began) / (self._done - self._before)
            left = round(seconds * (self._tasks - self._done))
            print(
                f"{self._name.replace('_', ' ')}: {self._done}/{self._tasks}, "
                f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left",
                file=self._console.file,
                flush=True,
            )
