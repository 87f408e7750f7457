"""Packed rows, against a loop over conversations and against a packer that looks at every row."""

import random

import numpy as np
import pytest

from gptjax.data.batches.packing import best_fit, pack
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.dialogue.records import Records
from gptjax.tokenization import load_tokenizer

T = 40
PADDING = 260


@pytest.fixture(scope="module")
def template():
    return ChatTemplate(load_tokenizer("chat:bytes"))


def chats(count, longest, seed=0):
    rng = random.Random(seed)

    def message(role):
        return Message(role, "".join(rng.choices("abc", k=rng.randrange(longest))))

    return tuple(
        tuple(message(role) for _ in range(rng.randint(1, 2)) for role in ("user", "assistant"))
        for _ in range(count)
    )


def test_rows_hold_each_conversation_once_with_its_mask(template):
    conversations = chats(100, 12)
    rows = pack(Records("s", conversations), template, T)
    batch = rows.batch(np.arange(len(rows)))
    found = []
    for row in range(len(rows)):
        at = 0
        for segment in range(batch["segment_ids"][row].max() + 1):
            length = int((batch["segment_ids"][row] == segment).sum())
            here = slice(at, at + length)
            assert (batch["segment_ids"][row][here] == segment).all()
            assert batch["positions"][row][here].tolist() == list(range(length))
            tokens, targets = batch["tokens"][row][here], batch["targets"][row][here]
            assert tokens[1:].tolist() == targets[:-1].tolist()
            found.append((tokens[:1].tolist() + targets.tolist(), batch["loss_weights"][row][here]))
            at += length
        rest = {key: values[row][at:] for key, values in batch.items()}
        assert (rest["tokens"] == PADDING).all() and (rest["targets"] == PADDING).all()
        assert (rest["segment_ids"] == -1).all()
        assert not rest["positions"].any() and not rest["loss_weights"].any()
    expected = []
    for conversation in conversations:
        ids, mask = [], []
        for role, text in ((m.role, m.content.encode()) for m in conversation):
            ids += [{"user": 257, "assistant": 258}[role], *text, 259]
            mask += [0, *[int(role == "assistant")] * (len(text) + 1)]
        if len(ids) <= T + 1:
            expected.append((ids, mask[1:]))
    assert sorted(ids for ids, _ in found) == sorted(ids for ids, _ in expected)
    masks = {tuple(ids): mask for ids, mask in expected}
    assert all(masks[tuple(ids)] == weights.tolist() for ids, weights in found)
    assert rows.num_targets == batch["loss_weights"].sum()
    assert rows.fill == (batch["segment_ids"] >= 0).mean()
    kinds = {key: values.dtype for key, values in batch.items()}
    assert kinds == {k: np.float32 if k == "loss_weights" else np.int32 for k in kinds}
    dropped = {"conversations longer than 41 tokens": 100 - len(expected)}
    assert rows.dropped == dropped and 0 < len(expected) < 100


def fullest_row(sizes, capacity, order):
    rows = []
    for item in order:
        fitting = [r for r in rows if sum(sizes[i] for i in r) + sizes[item] <= capacity]
        if fitting:
            max(fitting, key=lambda r: sum(sizes[i] for i in r)).append(item)
        else:
            rows.append([item])
    return rows


def test_best_fit_is_what_a_search_of_all_rows_finds():
    rng = np.random.default_rng(0)
    for capacity in (1, 7, 50):
        sizes, order = rng.integers(1, capacity + 1, 200), rng.permutation(200)
        rows = best_fit(sizes, capacity, order)
        expected = fullest_row(sizes, capacity, order.tolist())
        assert [sum(sizes[list(r)]) for r in rows] == [sum(sizes[r]) for r in expected]
        assert [list(r) for r in rows] == expected


def test_a_row_is_the_same_from_anywhere(template):
    rows = pack(Records("s", chats(60, 12)), template, T, seed=5)
    whole = rows.batch(np.arange(len(rows)))
    order = np.random.default_rng(0).permutation(len(rows))
    for key, values in rows.batch(order).items():
        np.testing.assert_array_equal(values, whole[key][order])
    again = pack(Records("s", chats(60, 12)), template, T, seed=5)
    assert again.members == rows.members
    assert pack(Records("s", chats(60, 12)), template, T, seed=6).members != rows.members


def test_rows_past_the_last_are_padding(template):
    rows = pack(Records("s", chats(5, 5)), template, T)
    batch = rows.batch(np.array([len(rows), 0, 10**9]))
    assert (batch["segment_ids"][[0, 2]] == -1).all() and (batch["tokens"][[0, 2]] == PADDING).all()
    assert not batch["loss_weights"][[0, 2]].any() and batch["loss_weights"][1].any()


def test_the_longest_that_fits_and_none_that_does(template):
    exact = (Message("user", "a" * 10), Message("assistant", "b" * (T + 1 - 14)))
    assert len(template.render(exact)[0]) == T + 1
    rows = pack(Records("s", (exact,)), template, T)
    assert rows.batch(np.array([0]))["segment_ids"].tolist() == [[0] * T]
    message = "^'s': got none of 1 .1 conversations longer than 40 tokens. rows, expected at least"
    with pytest.raises(ValueError, match=message):
        pack(Records("s", (exact,)), template, T - 1)
