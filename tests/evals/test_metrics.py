"""Figures, intervals and paired tests against loops and closed forms."""

import itertools
import math

import numpy as np
import pytest

from gptjax.alignment.intervals import wilson_interval
from gptjax.evals.metrics import bits_per, exponential, mean, paired, share
from gptjax.judging.metrics import resamples

RNG = np.random.default_rng(0)


def test_a_share_has_wilsons_interval():
    right = np.array([1.0] * 37 + [0.0] * 13)
    figure = share("accuracy", "right").figure({"right": right}, seed=0)
    n, p, z = 50, 37 / 50, 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    assert figure.value == p and figure.interval == "wilson"
    assert (figure.low, figure.high) == pytest.approx((centre - half, centre + half))


def test_a_mean_has_the_bootstraps_interval():
    """Of many items it is that of the normal distribution."""
    values = RNG.normal(3, 2, 4000)
    figure = mean("score", "x").figure({"x": values}, seed=1)
    error = values.std() / math.sqrt(4000)
    assert figure.value == pytest.approx(values.mean()) and figure.interval == "bootstrap"
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * error, rel=0.08)
    alone = mean("score", "x").figure({"x": values[:1]}, seed=1)
    assert (alone.low, alone.high, alone.interval) == (values[0], values[0], "none, of one item")
    again = mean("score", "x").figure({"x": values}, seed=1)
    assert again == figure != mean("score", "x").figure({"x": values}, seed=2)


def test_perplexity_is_of_all_nats_and_units_together():
    columns = {"nats": np.array([2.0, 6.0]), "words": np.array([1.0, 3.0])}
    assert exponential("perplexity", "nats", "words").compute(columns) == math.exp(2)
    assert bits_per("bits", "nats", "words").compute(columns) == 2 / math.log(2)
    assert exponential("p", "nats", "words").compute({**columns, "nats": columns["nats"] * 1e4})


def test_models_are_compared_on_the_same_items():
    """McNemar's exact test by enumeration; a paired interval is narrower than an unpaired one."""
    one = np.array([1.0] * 8 + [0.0] * 2 + [1.0] * 30)
    two = np.array([0.0] * 8 + [1.0] * 2 + [1.0] * 30)
    metric = share("accuracy", "right")
    found = paired(metric, {"right": one}, {"right": two}, seed=0)
    as_extreme = (
        sum(abs(sum(flips) - 5) >= 3 for flips in itertools.product((0, 1), repeat=10)) / 2**10
    )
    assert found.p_value == pytest.approx(as_extreme) and found.test == "mcnemar"
    assert found.value == pytest.approx(6 / 40) and found.low < 6 / 40 < found.high
    base = RNG.normal(size=500)
    close = {"x": base + 0.05}, {"x": base}
    difference = paired(mean("m", "x"), *close, seed=0)
    assert (difference.low, difference.high) == pytest.approx((0.05, 0.05))
    assert difference.p_value < 0.01 and difference.test == "permutation"
    assert paired(metric, {"right": one}, {"right": one}, seed=0).p_value == 1.0


def test_items_of_a_cluster_are_not_independent():
    """Four copies of 200 items: intervals are those of the 200, and so is how sure a test is."""
    right, other = (RNG.random(200) < share for share in (0.3, 0.42))
    clusters = np.repeat(np.arange(200), 4).tolist()
    metric, of_mean = share("accuracy", "right"), mean("m", "x")
    columns, others = ({"right": np.repeat(x, 4).astype(float)} for x in (right, other))
    found = metric.figure(columns, 0, clusters)
    assert (found.low, found.high) == wilson_interval(4.0 * right, np.full(200, 4))
    assert found.interval == "cluster wilson"
    difference = paired(metric, columns, others, 0, clusters)
    alone = paired(metric, {"right": right * 1.0}, {"right": other * 1.0}, 0)
    assert difference.p_value == pytest.approx(alone.p_value)  # McNemar's, of the 200
    assert (difference.test, alone.test) == ("cluster sign flips", "mcnemar")
    assert difference.high - difference.low == pytest.approx(alone.high - alone.low)

    values = RNG.normal(size=200)
    figure = of_mean.figure({"x": np.repeat(values, 4)}, 0, clusters)
    error = values.std() / math.sqrt(200)
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert figure.interval == "cluster bootstrap"
    singles = list(range(800))
    assert metric.figure(columns, 0, singles) == metric.figure(columns, 0)


def test_signs_of_clusters_are_flipped_in_all_ways():
    sizes, gains = [4, 1, 3, 2], np.array([3, -1, 2, 2])
    clusters = np.repeat(range(4), sizes).tolist()
    won, lost = (
        [np.arange(n) < g for n, g in zip(sizes, sign * gains, strict=True)] for sign in (1, -1)
    )
    one, two = (np.concatenate(each).astype(float) for each in (won, lost))
    as_far = [abs(np.dot(x, gains)) >= 6 for x in itertools.product((-1, 1), repeat=4)]
    metric = share("accuracy", "right")
    found = paired(metric, {"right": one}, {"right": two}, 0, clusters)
    assert found.p_value == np.mean(as_far) and found.value == 6 / 10
    one_cluster = paired(metric, {"right": one}, {"right": two}, 0, [0] * 10)
    assert one_cluster.p_value == 1.0


def test_a_test_finds_nothing_as_often_as_it_says():
    """Six clusters of ten items, no difference; p below 0.1 in a tenth of 300 cases at most."""
    rng, found = np.random.default_rng(5), 0
    for _ in range(40):
        shared = np.repeat(rng.normal(size=(2, 6)), 10, axis=1) + rng.normal(size=(2, 60))
        clusters = np.repeat(np.arange(6), 10).tolist()
        found += (
            paired(mean("m", "x"), {"x": shared[0]}, {"x": shared[1]}, 0, clusters).p_value < 0.1
        )
    assert found <= 8
    assert mean("m", "x").figure({"x": np.ones(4)}, 0, [1] * 4).interval == "none, of one cluster"


def test_whole_clusters_are_drawn_as_a_loop_draws_them():
    clusters = ["b", "a", "b", "c", "c", "b"]
    members = {"b": [0, 2, 5], "a": [1], "c": [3, 4]}
    rng, order = np.random.default_rng(3), ["b", "a", "c"]
    for chosen, _ in zip(resamples(6, 3, clusters), range(20), strict=False):
        drawn = rng.integers(3, size=3)
        assert chosen.tolist() == [i for number in drawn for i in members[order[number]]]
    singles = zip(resamples(6, 3, list("abcdef")), resamples(6, 3), strict=True)
    assert all((one == other).all() for one, other in singles)
