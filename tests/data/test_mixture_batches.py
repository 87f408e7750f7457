"""Batches of a mixture and of all rows, from the loader: order, resuming, shares, padding."""

import itertools

import numpy as np
import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.data.batches.loader import evaluation_rows, mixture_batches
from gptjax.data.batches.mixture import Mixture, WindowRows
from gptjax.data.batches.packing import pack
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.dialogue.records import Records
from gptjax.tokenization import load_tokenizer

T = 12
CHATS = tuple((Message("user", c), Message("assistant", c * 2)) for c in "abcdefghijklmnopqrstu")


@pytest.fixture
def rows():
    return pack(Records("s", CHATS), ChatTemplate(load_tokenizer("chat:bytes")), T)


@pytest.fixture
def mixture(rows, make_split):
    text = WindowRows(make_split(["some text of its own", "x" * 90]), T)
    return Mixture({"chats": rows, "text": text}, {"chats": 3, "text": 1}, seed=2)


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_equal(some, others):
    for a, b in zip(some, others, strict=True):
        assert (
            a.keys()
            == b.keys()
            == {*("tokens", "targets", "loss_weights", "segment_ids", "positions")}
        )
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.parametrize("schedule", [BatchSchedule(6, T), BatchSchedule(16, T, 2, 40 * T)])
def test_batches_are_the_examples_in_order_wherever_a_run_starts(mixture, schedule):
    whole = take(mixture_batches(mixture, schedule), 20)
    sizes = [schedule.batch_size_at(step) for step in range(20)]
    ends = np.cumsum(sizes)
    expected = [
        mixture.batch(np.arange(end - size, end)) for end, size in zip(ends, sizes, strict=True)
    ]
    assert_equal(whole, expected)
    for step in (1, 7, 19):
        assert_equal(whole[step:], take(mixture_batches(mixture, schedule, step), 20 - step))


def test_shares_and_skipped_examples(mixture):
    skipped = ((0, 2), (9, 14))
    left = [e for e in range(200) if not any(a <= e < b for a, b in skipped)]
    parts = [
        take(mixture_batches(mixture, BatchSchedule(8, T), share=((p,), 2), skipped=skipped), 5)
        for p in range(2)
    ]
    together = [
        {key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*parts, strict=True)
    ]
    examples = np.array(left[:40]).reshape(5, 8)
    assert_equal(together, [mixture.batch(step) for step in examples])
    with pytest.raises(ValueError, match="batch size 8 does not divide into 3 parts"):
        mixture_batches(mixture, BatchSchedule(8, T), share=((0,), 3))


def test_evaluation_takes_every_row_once_in_one_shape(rows):
    batches = list(evaluation_rows(rows, 4))
    assert len(rows) % 4 and {b["tokens"].shape for b in batches} == {(4, T)}
    together = {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}
    for key, values in rows.batch(np.arange(len(rows))).items():
        np.testing.assert_array_equal(together[key][: len(rows)], values)
    assert (together["segment_ids"][len(rows) :] == -1).all()
    assert together["loss_weights"].sum() == rows.num_targets == 3 * len(CHATS)
    halves = [list(evaluation_rows(rows, 4, share=((p,), 2))) for p in range(2)]
    first = np.concatenate([halves[0][0]["tokens"], halves[1][0]["tokens"]])
    np.testing.assert_array_equal(first, batches[0]["tokens"])
