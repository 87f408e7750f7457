"""Examples that a run leaves out of its order, as half-open ranges of their numbers.

What is left is numbered anew, so that everything stays a function of (seed, number, ranges). Only
what comes after a range is shifted by it: ranges that are found during a run change nothing of
what it has trained on before.

    skipped = skip_steps((), schedule, 7, 9)   # the batches of steps 7 and 8, counted from 0
    nth_example(100, skipped)
"""

from collections.abc import Iterable

from gptjax.batch_schedule import BatchSchedule

Ranges = tuple[tuple[int, int], ...]


def nth_example(n: int, skipped: Iterable[Iterable[int]]) -> int:
    """Returns the number, in the whole order, of the n-th example (from 0) that is not skipped.

    Args:
      n: the example's number among those left.
      skipped: disjoint ranges (first, stop) in ascending order.
    """
    for first, stop in skipped:
        if n >= first:
            n += stop - first
    return n


def skip_steps(skipped: Ranges, schedule: BatchSchedule, first_step: int, stop_step: int) -> Ranges:
    """Returns `skipped` with the examples that steps `first_step` to `stop_step - 1` train on."""
    first = nth_example(schedule.examples(first_step), skipped)
    stop = nth_example(schedule.examples(stop_step) - 1, skipped) + 1
    outside = [(a, b) for a, b in skipped if b <= first or stop <= a]
    return tuple(sorted([*outside, (first, stop)]))
