"""Programs timed in turn, so that a machine that slows down slows all of them.

seconds = interleaved({"ours": ours, "theirs": theirs}, rounds=5)
ratio(seconds, "theirs", "ours")   # how many times faster ours is
"""

import statistics
import sys
from collections.abc import Callable, Mapping

TimedProgram = Callable[[], float]  # runs once and returns its seconds
Seconds = dict[str, list[float]]  # by program, one of each round


def interleaved(programs: Mapping[str, TimedProgram], rounds: int) -> Seconds:
    """Runs all programs one after another, `rounds` times; says on standard error that it does."""
    print(f"timing {', '.join(programs)}: {rounds} rounds", file=sys.stderr, flush=True)
    seconds: Seconds = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            seconds[name].append(program())
    return seconds


def medians(seconds: Seconds) -> dict[str, float]:
    """The median seconds of each program."""
    return {f"{name}_seconds": statistics.median(values) for name, values in seconds.items()}


def ratio(seconds: Seconds, over: str, under: str) -> float:
    """The median over rounds of the seconds of `over` by those of `under`."""
    pairs = zip(seconds[over], seconds[under], strict=True)
    return statistics.median(a / b for a, b in pairs)
