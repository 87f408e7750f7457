"""Against lists of examples with the skipped ones struck out."""

import random

import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.data.batches.skipping import nth_example, skip_steps


def _left(skipped, upto=300):
    gone = {e for first, stop in skipped for e in range(first, stop)}
    return [e for e in range(upto) if e not in gone]


@pytest.mark.parametrize(
    "skipped", [(), ((0, 3),), ((2, 4), (4, 5), (9, 30)), [[0, 1], [250, 299]]]
)
def test_the_nth_example_is_that_of_the_list_without_the_skipped(skipped):
    left = _left(skipped)
    assert [nth_example(n, skipped) for n in range(len(left))] == left


@pytest.mark.parametrize("schedule", [BatchSchedule(4, 1), BatchSchedule(8, 1, 2, 30)])
def test_skipping_steps_takes_their_examples_out_and_nothing_before(schedule):
    rng = random.Random(0)
    skipped = ()
    for _ in range(12):
        first = rng.randrange(9)
        stop = first + rng.randrange(1, 3)
        left = _left(skipped)
        expected = left[: schedule.examples(first)] + left[schedule.examples(stop) :]
        skipped = skip_steps(skipped, schedule, first, stop)
        assert _left(skipped) == expected
        assert skipped == tuple(sorted(skipped)) and all(first < stop for first, stop in skipped)
