"""The operations that a compiled program ran, each with its share of the time on the clock.

with traced() as trace:
    program()
shares = seconds_by_operation(trace.runs("jit_train_step"), calls={"while.3"})
"""

import contextlib
import dataclasses
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

_END = "end: "
IDLE = ""  # the name of the time in which no operation ran
Interval = tuple[str, float, float]  # an operation, its start and end in nanoseconds


@dataclasses.dataclass
class Traced:
    """What the profiler saw; empty until its context is left."""

    intervals: list[Interval] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def traced() -> Iterator[Traced]:
    """Profiles what runs within it; on a CPU, whose profile names each operation it runs."""
    trace = Traced()
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            yield trace
        (profile,) = Path(directory).rglob("*.xplane.pb")
        trace.intervals = list(_intervals(jax.profiler.ProfileData.from_file(str(profile))))


def _intervals(profile: Any) -> Iterator[Interval]:
    """The operations' intervals, each from the start of its event to the end of its "end: " event.

    An operation may go on after its call has returned. Its own runs come one after another, so that
    starts and ends are paired in the order of time.
    """
    begun: dict[str, list[float]] = defaultdict(list)
    ended: dict[str, list[float]] = defaultdict(list)
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                if event.name.startswith(_END):
                    ended[event.name.removeprefix(_END)].append(event.end_ns)
                else:
                    begun[event.name].append(event.start_ns)
    for name, ends in ended.items():
        for start, end in zip(sorted(begun[name]), sorted(ends), strict=False):
            yield name, start, end


def seconds_by_operation(
    intervals: Sequence[Interval], callers: Collection[str] = ()
) -> dict[str, float]:
    """Seconds of each operation, which add up to the time from the first start to the last end.

    A moment counts for the operations that run in it, in equal parts; `IDLE` has those of none.

    Args:
      intervals: of `Traced`.
      callers: operations that only run others, and count nothing.
    """
    edges = sorted(
        (time, change, name)
        for name, start, end in intervals
        if name not in callers
        for time, change in ((start, 1), (end, -1))
    )
    seconds: dict[str, float] = defaultdict(float)
    running: dict[str, int] = defaultdict(int)
    before = edges[0][0] if edges else 0.0
    for time, change, name in edges:
        if time > before:
            count = sum(running.values())
            for each, times in running.items():
                seconds[each] += (time - before) * 1e-9 * times / count
            if not count:
                seconds[IDLE] += (time - before) * 1e-9
        running[name] += change
        if not running[name]:
            del running[name]
        before = time
    return dict(seconds)
