"""Parts of a suite within a budget of seconds: none is lost in silence, and none holds up the rest.

outcome = run_parts(functools.partial(parts, sizes), budget=480.0)
outcome.figures, outcome.failed, outcome.left_out
"""

import dataclasses
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from multiprocessing.connection import Connection
from typing import Any

# A part may take so many times what it is said to take, as far as the budget goes.
PATIENCE = 2.0
# Seconds until a process offers its next part, which may be after its start; and until it ends.
OFFER, END = 30.0, 5.0


@dataclasses.dataclass(frozen=True)
class Part:
    """One measurement.

    Attributes:
      name: dotted.
      seconds: that it may take, compilation included; it is left out where fewer remain.
      run: returns its figures.
      missing: why it cannot be run here; None: it can.
    """

    name: str
    seconds: float
    run: Callable[[], dict[str, Any]]
    missing: str | None = None


# All parts in order, of the figures by then, which it may read as the parts go on.
Parts = Callable[[Mapping[str, dict[str, Any]]], Iterable[Part]]


@dataclasses.dataclass
class Outcome:
    """What became of all parts; a part's name is in one of the three.

    Attributes:
      figures: of those that ran.
      failed: what was said by those that could not end, or how long they were waited for.
      left_out: why the others did not begin.
      seconds: of all together.
    """

    figures: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def names(self) -> set[str]:
        """Of all parts so far."""
        return {*self.figures, *self.failed, *self.left_out}


class _NoAnswerError(Exception):
    """The process of the parts says nothing within its time, or no more."""


def run_parts(parts: Parts, budget: float) -> Outcome:
    """Runs parts in order, as long as the budget lasts; says on standard error what it does.

    They run in a process of their own, one after another. A part that fails does not end the
    others: its device may be out of memory for it alone. One that does not end within `PATIENCE`
    times its seconds, or that ends its process, is recorded so; a new process has the rest.

    Args:
      parts: what can be pickled, with what it holds.
      budget: seconds; of more, up to `OFFER`, what is left out after a late restart is named.
    """
    outcome, end = Outcome(), time.monotonic() + budget
    over = False
    while not over:
        process = _Process(parts, outcome)
        try:
            over = _offered(process, outcome, end)
        finally:
            process.stop()
    outcome.seconds = time.monotonic() - end + budget
    return outcome


def _offered(process: "_Process", outcome: Outcome, end: float) -> bool:
    """Runs what a process offers, until it has no more; False: until it must be replaced."""
    while True:
        try:
            offered = process.answer(OFFER)
        except _NoAnswerError as error:
            outcome.failed["next part"] = f"{error}; neither it nor those after it began"
            return True
        if offered is None:
            return True
        name, seconds, missing = offered
        left = end - time.monotonic()
        if missing is None and left < seconds:
            missing = f"no time: it may take {seconds:,.0f} s, and {max(left, 0.0):,.0f} s are left"
        if missing is None:
            print(f"{name}: {left:,.0f} s are left", file=sys.stderr, flush=True)
        else:
            outcome.left_out[name] = missing
        process.pipe.send(missing is None)
        if missing is None:
            try:
                figures, error = process.answer(min(PATIENCE * seconds, left))
            except _NoAnswerError as silent:
                outcome.failed[name] = str(silent)
                return False
            if error is None:
                outcome.figures[name] = figures
            else:
                outcome.failed[name] = error


class _Process:
    """A process that offers the parts whose names are not in an outcome yet.

    Attributes:
      pipe: to it; it is told whether to run what it offers.
    """

    def __init__(self, parts: Parts, outcome: Outcome):
        """Starts it."""
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        arguments = parts, outcome.names, dict(outcome.figures), other
        self._process = context.Process(target=_serve, args=arguments)
        self._process.start()
        other.close()  # so that the pipe ends with the process

    def answer(self, seconds: float) -> Any:
        """What it says within so many seconds.

        Raises:
          _NoAnswerError: nothing.
        """
        if not self.pipe.poll(seconds):
            raise _NoAnswerError(f"took over {seconds:,.3g} seconds")
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join(END)
            code = self._process.exitcode
            raise _NoAnswerError(f"its process ended with code {code}") from None

    def stop(self) -> None:
        """Ends it, and with it the processes that it has started."""
        self.pipe.close()
        if self._process.is_alive() and self._process.pid is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has not come to make a group
                self._process.kill()
        self._process.join(END)


def _serve(
    parts: Parts, known: Collection[str], figures: dict[str, dict[str, Any]], pipe: Connection
) -> None:
    """What the process does: offers each part that is not known, and runs it if it is told to."""
    os.setsid()
    for part in parts(figures):
        if part.name in known:
            continue
        pipe.send((part.name, part.seconds, part.missing))
        if pipe.recv():
            try:
                figures[part.name] = part.run()
                pipe.send((figures[part.name], None))
            except Exception as error:  # whatever a device, a kernel or a rival says
                text = " ".join(str(error).split())[:400]
                pipe.send((None, f"{type(error).__name__}: {text}"))
            gc.collect()  # of a part's arrays
    pipe.send(None)
