import numpy as np
import pytest

from experiments.benchmarks.step.timeline import IDLE, seconds_by_operation

NANOSECOND = 1e-9


def test_a_moment_counts_for_all_that_run_in_it():
    intervals = [("a", 0, 10), ("b", 4, 10), ("a", 20, 30)]
    seconds = seconds_by_operation(intervals)
    assert seconds == pytest.approx(
        {"a": 17 * NANOSECOND, "b": 3 * NANOSECOND, IDLE: 10 * NANOSECOND}
    )


def test_callers_count_nothing():
    intervals = [("while", 0, 100), ("a", 0, 40), ("b", 60, 100)]
    seconds = seconds_by_operation(intervals, {"while"})
    assert seconds == pytest.approx(
        {"a": 40 * NANOSECOND, "b": 40 * NANOSECOND, IDLE: 20 * NANOSECOND}
    )


def test_against_a_count_of_every_nanosecond():
    random = np.random.default_rng(0)
    starts = random.integers(0, 300, 40)
    ends = starts + random.integers(0, 30, 40)
    names = random.choice(["a", "b", "c"], 40)
    expected = dict.fromkeys(["a", "b", "c", IDLE], 0.0)
    for moment in range(starts.min(), ends.max()):
        running = names[(starts <= moment) & (moment < ends)]
        for name in running if len(running) else [IDLE]:
            expected[name] += NANOSECOND / max(len(running), 1)
    seconds = seconds_by_operation(list(zip(names, starts.tolist(), ends.tolist(), strict=True)))
    assert dict.fromkeys(expected, 0.0) | seconds == pytest.approx(expected)
    assert sum(seconds.values()) == pytest.approx((ends.max() - starts.min()) * NANOSECOND)


def test_nothing_ran():
    assert seconds_by_operation([]) == {}
