"""Mixtures: shares, epochs and batches against a loop that starts at example 0."""

import collections
import itertools
import math

import numpy as np
import pytest

from gptjax.data.batches.mixture import Mixture, WindowRows, shuffled


class Numbers:
    """Rows that say which source and which row they are."""

    def __init__(self, source, size, width=1):
        self.source, self.size, self.width = source, size, width

    def __len__(self):
        return self.size

    def batch(self, indices):
        rows = np.stack([np.full(len(indices), self.source), indices], axis=1).astype(np.int32)
        return {"tokens": np.repeat(rows, self.width, axis=1)}


SIZES = {"a": 7, "b": 50, "c": 13}
GOLDEN = [(1, 11), (1, 8), (1, 41), (1, 24), (1, 27), (1, 22), (1, 21)]
WEIGHTS = {"a": 0.1, "b": 0.65, "c": 0.25}


def mixture(weights=WEIGHTS, seed=0):
    sources = {name: Numbers(i, SIZES[name]) for i, name in enumerate(weights)}
    return Mixture(sources, weights, seed)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, 1000])
def test_shuffled_is_a_permutation(size):
    orders = [[shuffled(i, size, seed) for i in range(size)] for seed in (0, 1, 2**64 - 1)]
    for order in orders:
        assert sorted(order) == list(range(size))
    if size > 60:
        assert len(set(map(tuple, orders))) == 3 and orders[0] != sorted(orders[0])


@pytest.mark.slow
def test_shuffled_is_near_uniform():
    """Every element is as often at every place, over seeds: chi-square within four sigma."""
    size, seeds = 6, 6000
    counts = np.zeros((size, size))
    for seed in range(seeds):
        for place in range(size):
            counts[place, shuffled(place, size, seed * 7919)] += 1
    expected = seeds / size
    chi_square, freedom = ((counts - expected) ** 2 / expected).sum(), (size - 1) ** 2
    assert abs(chi_square - freedom) < 4 * math.sqrt(2 * freedom)


def test_the_order_is_the_same_in_every_version():
    """Golden: a run must not change its data order when it is resumed after an upgrade."""
    sources, indices = mixture(seed=17).locate(np.array([0, 1, 2, 3, 1000, 10**9, 10**12]))
    assert list(zip(sources.tolist(), indices.tolist(), strict=True)) == GOLDEN


@pytest.mark.parametrize(
    "weights",
    [
        WEIGHTS,
        {"a": 1.0},
        {"a": 2, "b": 3},
        {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3},
        {"a": 0.003, "b": math.pi, "c": math.e},
    ],
)
def test_shares_are_exact(weights):
    """After every whole block each source is within one of its share, anywhere in the stream."""
    mixed = mixture(weights)
    total = sum(weights.values())
    for block in (*range(1, 40), 10**6 + 3):
        stop = block * mixed.block
        for name, count in mixed.counts(stop).items():
            assert abs(count - stop * weights[name] / total) < 1 + 1e-9 * stop
        assert sum(mixed.counts(stop).values()) == stop
    assert mixed.block == math.ceil(2 * total / min(weights.values()))


def test_examples_against_a_walk_from_the_start():
    mixed = mixture()
    seen = collections.defaultdict(list)
    sources, indices = mixed.locate(np.arange(3000))
    names = list(WEIGHTS)
    for stop, (source, index) in enumerate(zip(sources, indices, strict=True)):
        if stop % 97 == 0:
            assert mixed.counts(stop) == {name: len(seen[name]) for name in names}
        seen[names[source]].append(int(index))
    for name, rows in seen.items():
        size = SIZES[name]
        epochs = [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]
        assert len(epochs) > 30
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert len(set(map(tuple, epochs))) == len(epochs)
    report = mixed.report(3000)
    assert report["a"] == {"examples": 300, "share": 0.1, "epochs": 300 / 7}


@pytest.mark.parametrize("skipped", [(), ((0, 5),), ((3, 40), (70, 71), (100, 333), (9000, 9999))])
def test_the_mix_is_that_of_what_was_not_left_out(skipped):
    mixed, taken = mixture(), 200
    left = [e for e in range(1000) if not any(a <= e < b for a, b in skipped)][:taken]
    sources, _ = mixed.locate(np.array(left))
    report = mixed.report(taken, skipped)
    for place, name in enumerate(WEIGHTS):
        count = int((sources == place).sum())
        assert report[name] == {
            "examples": count,
            "share": count / taken,
            "epochs": count / SIZES[name],
        }
    assert mixed.report(0, skipped)["a"] == {"examples": 0, "share": 0.0, "epochs": 0.0}


def test_the_order_within_blocks_is_drawn():
    sources, _ = mixture().locate(np.arange(2000))
    blocks = sources.reshape(-1, mixture().block)
    assert len(set(map(tuple, blocks.tolist()))) == len(blocks)
    other, _ = mixture(seed=1).locate(np.arange(2000))
    assert (other != sources).any()


def test_batches_are_the_same_from_anywhere():
    whole = mixture().batch(np.arange(500))["tokens"]
    order = np.random.default_rng(0).permutation(500)
    np.testing.assert_array_equal(mixture().batch(order)["tokens"], whole[order])
    for first in (3, 77, 400):
        part = mixture().batch(np.arange(first, first + 8))["tokens"]
        np.testing.assert_array_equal(part, whole[first : first + 8])


def test_a_source_keeps_its_order_in_other_company():
    def rows_of(mixed, name):
        sources, indices = mixed.locate(np.arange(400))
        return indices[sources == list(mixed.sources).index(name)].tolist()

    alone = rows_of(mixture({"b": 1.0}), "b")
    mixed = rows_of(mixture(), "b")
    assert mixed == alone[: len(mixed)]


def test_windows_of_text_are_rows(make_split):
    split = make_split(["abcdef", "ghi" * 9])
    rows = WindowRows(split, 4)
    assert len(rows) == split.full_windows(4)
    batch = Mixture({"text": rows}, {"text": 1}, 0).batch(np.arange(len(rows)))
    assert set(batch) == {"tokens", "targets", "loss_weights", "segment_ids", "positions"}
    expected = split.tokens[: len(rows) * 4].reshape(-1, 4).tolist()
    assert sorted(batch["tokens"].tolist()) == sorted(expected)


@pytest.mark.parametrize("document_masking", [False, True])
def test_documents_of_a_window_are_hidden_from_each_other_or_not(make_split, document_masking):
    rows = WindowRows(make_split(["ab", "c", "defg", "hijklmn"]), 6, document_masking)
    batch = rows.batch(np.arange(len(rows)))
    alone = [
        {tuple(row[row >= 0]) == tuple(range(6)) for row in batch["positions"]},
        {len(np.unique(row)) == 1 for row in batch["segment_ids"]},
    ]
    assert alone == ([{False, True}] * 2 if document_masking else [{True}] * 2)
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int32), np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("sources", "weights", "message"),
    [
        ({}, {}, "mixture: got no sources, expected at least one"),
        ({"a": 5}, {"a": 1, "b": 1}, "unknown source of the mixture 'b'; expected one of: a"),
        ({"a": 5, "b": 5}, {"a": 1}, "weight of 'b': got nan, expected a number above 0"),
        ({"a": 5}, {"a": 0}, "weight of 'a': got 0, expected a number above 0"),
        ({"a": 5}, {"a": math.inf}, "weight of 'a': got inf, expected a number above 0"),
        ({"a": 0}, {"a": 1}, "source 'a': got no rows, expected at least one"),
    ],
)
def test_bad_mixtures(sources, weights, message):
    with pytest.raises(ValueError, match=message):
        Mixture({name: Numbers(0, size) for name, size in sources.items()}, weights, 0)


def test_sources_that_do_not_fit_are_refused():
    mixed = Mixture({"a": Numbers(0, 5), "b": Numbers(1, 5, width=2)}, {"a": 1, "b": 1}, 0)
    message = r"^rows of 'b': got {'tokens': \[4\]}, expected {'tokens': \[2\]}, as the others$"
    with pytest.raises(ValueError, match=message):
        mixed.batch(np.arange(8))


def test_examples_need_not_be_many():
    for count, start in itertools.product((0, 1), (0, 5)):
        sources, indices = mixture().locate(np.arange(start, start + count))
        assert sources.shape == indices.shape == (count,)
