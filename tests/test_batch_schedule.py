from fractions import Fraction

import pytest

from gptjax.batch_schedule import BatchSchedule

SCHEDULES = [
    BatchSchedule(8, 4),
    BatchSchedule(8, 4, ramp_start=8, ramp_tokens=100),
    BatchSchedule(16, 4, ramp_start=2, ramp_tokens=200),
    BatchSchedule(13, 8, ramp_start=3, ramp_tokens=777),
    BatchSchedule(100, 3, ramp_start=7, ramp_tokens=3_000),
    BatchSchedule(64, 32, ramp_start=1, ramp_tokens=10),
]


def simulated(schedule: BatchSchedule, steps: int) -> list[int]:
    """Batch sizes, one step after the other: the largest doubling under the line."""
    sizes, tokens = [], 0
    for _ in range(steps):
        size = schedule.batch_size
        if schedule.ramp_start is not None and schedule.ramp_tokens is not None:
            share = min(Fraction(tokens, schedule.ramp_tokens), Fraction(1))
            start = schedule.ramp_start
            line = start + share * (schedule.batch_size - start)
            if line < schedule.batch_size:
                size = start
                while 2 * size <= line:
                    size *= 2
        sizes.append(size)
        tokens += size * schedule.context_length
    return sizes


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_closed_forms_equal_a_loop(schedule):
    steps = 300
    sizes = simulated(schedule, steps)
    assert sizes[-1] == schedule.batch_size
    assert [schedule.batch_size_at(step) for step in range(steps)] == sizes
    before = [sum(sizes[:step]) for step in range(steps)]
    assert [schedule.examples(step) for step in range(steps)] == before
    length = schedule.context_length
    assert [schedule.tokens(step) for step in range(steps)] == [length * n for n in before]
    for begun in before[1:-1]:  # each side of every step's first token
        for tokens in (length * begun - 1, length * begun, length * begun + 1):
            enough = next(step for step in range(steps) if length * before[step] >= tokens)
            assert schedule.steps_for(tokens) == enough


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_stages_are_the_changes_of_the_batch(schedule):
    sizes = simulated(schedule, 300)
    changes = [
        (step, size) for step, size in enumerate(sizes) if step == 0 or size != sizes[step - 1]
    ]
    assert schedule.stages == tuple(changes)


def test_gpt3_small_ramps_from_32_thousand_tokens_over_4_billion():
    schedule = BatchSchedule(256, 2048, ramp_start=16, ramp_tokens=4_000_000_000)
    assert [size for _, size in schedule.stages] == [16, 32, 64, 128, 256]
    assert schedule.batch_size_at(0) * 2048 == 32_768
    full = schedule.stages[-1][0]
    assert 4_000_000_000 <= schedule.tokens(full) < 4_000_000_000 + 128 * 2048
    steps = schedule.steps_for(300_000_000_000)
    assert 0 <= schedule.tokens(steps) - 300_000_000_000 < 256 * 2048
