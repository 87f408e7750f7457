"""The order of batches, against a loop over (seed, example index)."""

import itertools
import random
import threading
import types

import numpy as np
import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.data.batches.loader import (
    evaluation_batches,
    example_window,
    step_windows,
    train_batches,
)

T = 4
RNG = random.Random(0)
TEXTS = ["".join(chr(RNG.randrange(128)) for _ in range(3 + 5 * i)) for i in range(12)]


@pytest.fixture
def split(make_split):
    return make_split(TEXTS)


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_equal(some, others):
    for a, b in zip(some, others, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def window_of(split, row):
    """Which window a row of a training batch is; the stream's windows are all different."""
    full = split.tokens[: split.num_targets // T * T].reshape(-1, T)
    (found,) = np.flatnonzero((full == row).all(axis=1))
    return found


@pytest.mark.parametrize("batch_size", [1, 6, pytest.param(250, marks=pytest.mark.slow)])
def test_batches_follow_the_order_of_examples(split, batch_size):
    num_windows = split.full_windows(T)
    batches = take(train_batches(split, BatchSchedule(batch_size, T), seed=3), 5)
    rows = [window_of(split, row) for batch in batches for row in batch["tokens"]]
    assert rows == [example_window(3, e, num_windows) for e in range(5 * batch_size)]
    assert all(batch["loss_weights"].all() for batch in batches)


def test_each_epoch_is_another_permutation(split):
    num_windows = split.full_windows(T)
    epochs = [
        [example_window(0, epoch * num_windows + i, num_windows) for i in range(num_windows)]
        for epoch in range(4)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(num_windows))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert epochs[0] != sorted(epochs[0])
    assert epochs[0] != [example_window(1, i, num_windows) for i in range(num_windows)]
    assert [example_window(0, i, 1) for i in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    "num_windows",
    [4**8 + 1, *(pytest.param(n, marks=pytest.mark.slow) for n in (4**8, 4**9 + 1, 4**10 + 1))],
)
def test_an_epoch_has_each_window_once(num_windows):
    """Of 4^k + 1 indices, `index_shuffle` gives one twice and the last never."""
    shuffled = [example_window(3, example, num_windows) for example in range(num_windows)]
    np.testing.assert_array_equal(np.sort(shuffled), np.arange(num_windows))


def test_an_epoch_of_few_windows_has_each_once():
    for num_windows in (*range(1, 10), 16, 17, 64, 65):
        epoch = [example_window(1, num_windows + e, num_windows) for e in range(num_windows)]
        assert sorted(epoch) == list(range(num_windows))


def test_a_run_begun_before_keeps_its_order():
    """One window comes twice and the last one never."""
    num_windows = 2**16 + 1
    shuffled = [example_window(3, e, num_windows, revision=1) for e in range(num_windows)]
    assert len(set(shuffled)) == num_windows - 1 and num_windows - 1 not in shuffled
    schedule = BatchSchedule(4, 8, revision=1)
    split = types.SimpleNamespace(full_windows=lambda length: num_windows)
    assert step_windows(split, schedule, 3, 0, range(4)) == shuffled[:4]


def test_the_order_is_the_same_in_every_version():
    """Golden: a run must not change its data order when it is resumed after an upgrade."""
    assert [example_window(17, e, 1000) for e in (0, 1, 2, 999, 1000, 10**12)] == [
        257,
        681,
        165,
        583,
        730,
        363,
    ]


@pytest.mark.parametrize("schedule", [BatchSchedule(6, T), BatchSchedule(16, T, 2, 40 * T)])
def test_resuming_anywhere_equals_continuing(split, schedule):
    whole = take(train_batches(split, schedule, seed=1), 20)
    assert [len(b["tokens"]) for b in whole] == [schedule.batch_size_at(i) for i in range(20)]
    for step in (1, 3, 13, 19):
        rest = take(train_batches(split, schedule, seed=1, start_step=step), 20 - step)
        assert_equal(whole[step:], rest)


def test_a_step_far_on_is_reached_at_once(split):
    batches = train_batches(split, BatchSchedule(2, T), seed=0, start_step=10**12)
    rows = [window_of(split, row) for row in next(batches)["tokens"]]
    num_windows = split.full_windows(T)
    assert rows == [example_window(0, 2 * 10**12 + i, num_windows) for i in range(2)]


@pytest.mark.parametrize(
    "shares", [((0,), (1,)), ((0,), (1,), (2,), (3,)), ((0, 3), (1, 2)), ((2,), (0, 1, 3))]
)
def test_shares_have_the_rows_of_their_parts(split, shares):
    """Also of parts that do not follow each other, as the devices of a TPU host may hold them."""
    schedule, parts = BatchSchedule(8, T, 4, 30 * T), sum(map(len, shares))

    def train(share):
        batches = train_batches(split, schedule, 5, document_masking=True, share=share)
        return take(batches, 12)

    def evaluation(share):
        return list(evaluation_batches(split, T, 8, document_masking=True, share=share))

    for batches in (train, evaluation):
        whole = batches(((0,), 1))
        for held in shares:
            expected = [
                {
                    name: np.concatenate([np.split(array, parts)[part] for part in held])
                    for name, array in batch.items()
                }
                for batch in whole
            ]
            assert_equal(batches((held, parts)), expected)


@pytest.mark.parametrize("context_length", [1, 5, 1000])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_evaluation_counts_each_target_once_in_one_shape(split, context_length, batch_size):
    batches = list(evaluation_batches(split, context_length, batch_size))
    assert {batch["tokens"].shape for batch in batches} == {(batch_size, context_length)}
    real = [batch["loss_weights"] == 1 for batch in batches]
    targets = [batch["targets"][r] for batch, r in zip(batches, real, strict=True)]
    assert np.concatenate(targets).tolist() == split.tokens[1:].tolist()
    assert sum(batch["loss_weights"].sum() for batch in batches) == split.num_targets


def test_document_masking_is_passed_on(split):
    plain = next(train_batches(split, BatchSchedule(2, T), 0))
    masked = next(train_batches(split, BatchSchedule(2, T), 0, document_masking=True))
    assert plain.keys() == {"tokens", "targets", "loss_weights"}
    assert masked.keys() == plain.keys() | {"segment_ids", "positions"}
    np.testing.assert_array_equal(plain["tokens"], masked["tokens"])


def test_batches_are_made_ahead_by_another_thread(split, monkeypatch):
    threads, made = [], threading.Semaphore(0)
    original = type(split).batch

    def noted(self, *args):
        threads.append(threading.current_thread())
        made.release()
        return original(self, *args)

    monkeypatch.setattr(type(split), "batch", noted)
    batches = train_batches(split, BatchSchedule(2, T), 0, prefetch=3)
    next(batches)
    for _ in range(4):
        made.acquire()
    assert threading.main_thread() not in threads


def test_batches_that_do_not_divide_are_refused(split):
    with pytest.raises(ValueError, match=r"batch size 3 does not divide into 2 parts; expec"):
        train_batches(split, BatchSchedule(12, T, 3, 1000), 0, share=((0,), 2))
    with pytest.raises(ValueError, match="expected a multiple of 4"):
        evaluation_batches(split, T, 6, share=((0,), 4))


def test_a_split_shorter_than_a_window_is_refused(split):
    with pytest.raises(ValueError, match="expected at least one window of context_length = 9999"):
        train_batches(split, BatchSchedule(1, 9999), 0)


@pytest.mark.parametrize("start", [0, 3])
def test_skipped_examples_are_left_out_and_the_others_move_up(split, start):
    schedule, skipped, num_windows = BatchSchedule(4, T), ((0, 2), (9, 14)), split.full_windows(T)
    left = [e for e in range(200) if not any(a <= e < b for a, b in skipped)]
    batches = take(train_batches(split, schedule, seed=3, start_step=start, skipped=skipped), 6)
    rows = [window_of(split, row) for batch in batches for row in batch["tokens"]]
    assert rows == [example_window(3, e, num_windows) for e in left[4 * start : 4 * start + 24]]
