"""How far an evaluation is, on the screen: a line that is written over, or lines now and then.

with Screen() as screen:
    screen.say("runs/lm", done=120, total=5153)
"""

import datetime
import sys
import time
from collections.abc import Callable
from typing import TextIO

_PLAIN_SECONDS = 10.0


class Screen:
    """Says what is done and how long the rest takes; a context manager."""

    def __init__(self, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        """`file`: None: standard error."""
        self._file, self._clock = file or sys.stderr, clock
        self._what, self._began, self._first = "", 0.0, 0
        self._said = float("-inf")

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        if self._what and self._file.isatty():
            print(file=self._file)

    def say(self, what: str, done: int, total: int, unit: str = "answers") -> None:
        """`done` of `total` answers, or other units, of `what` are there."""
        now = self._clock()
        if what != self._what:
            self._what, self._began, self._first = what, now, done
        if now - self._said < (0.2 if self._file.isatty() else _PLAIN_SECONDS) and done < total:
            return
        self._said = now
        left = ""
        if self._first < done < total:
            seconds = (now - self._began) / (done - self._first) * (total - done)
            left = f", {datetime.timedelta(seconds=round(seconds))} left"
        line = f"{what}: {done:,} of {total:,} {unit}{left}"
        if self._file.isatty():
            print(f"\r{line}\x1b[K", end="\n" if done == total else "", file=self._file, flush=True)
        elif done < total:
            print(line, file=self._file, flush=True)
