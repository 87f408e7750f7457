"""Figures, intervals and paired tests against loops and closed forms."""

import itertools
import math

import numpy as np
import pytest

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
    assert difference.p_value < 0.01 and difference.test == "bootstrap"
    assert paired(metric, {"right": one}, {"right": one}, seed=0).p_value == 1.0


def test_items_that_repeat_each_other_are_worth_one():
    """Four copies of 201 items have the interval of 200; so has their mean, by its error."""
    right = RNG.random(201) < 0.3
    copies, clusters = np.repeat(right, 4).astype(float), np.repeat(np.arange(201), 4).tolist()
    metric = share("accuracy", "right")
    found = metric.figure({"right": copies}, 0, clusters)
    p, z, n = right.mean(), 1.959963984540054, 200
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    assert found.high - found.low == pytest.approx(2 * half) and found.interval == "cluster wilson"
    values = RNG.normal(size=201)
    figure = mean("m", "x").figure({"x": np.repeat(values, 4)}, 0, clusters)
    error = values.std() / math.sqrt(201)
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert figure.interval == "cluster bootstrap"
    one = {"right": np.repeat(RNG.random(201) < 0.4, 4).astype(float)}
    assert paired(metric, {"right": copies}, one, 0, clusters).test == "cluster bootstrap"


@pytest.mark.parametrize("spread", [0.0, 0.35])
def test_the_interval_of_clusters_holds_the_share_as_often_as_it_says(spread):
    """Clusters of one to eight items, whose own shares differ by `spread`; 400 trials."""
    rng, metric, held, plain = np.random.default_rng(1), share("accuracy", "right"), 0, 0
    for _ in range(400):
        sizes = rng.integers(1, 9, 60)
        chance = 0.5 + spread * rng.choice([-1, 1], 60)
        clusters = np.repeat(np.arange(60), sizes).tolist()
        columns = {"right": (rng.random(len(clusters)) < chance[clusters]).astype(float)}
        of_clusters, alone = metric.figure(columns, 0, clusters), metric.figure(columns, 0)
        held += of_clusters.low <= 0.5 <= of_clusters.high
        plain += alone.low <= 0.5 <= alone.high
    assert 0.92 <= held / 400 <= 0.98
    assert (plain / 400 < 0.85) == (spread > 0)


def test_what_is_not_known_of_clusters_counts_each_as_one_item():
    metric = share("accuracy", "right")
    ones = {"right": np.ones(30)}
    assert metric.figure(ones, 0, [i // 6 for i in range(30)]).low == pytest.approx(
        metric.figure({"right": np.ones(5)}, 0).low
    )
    twins = {"right": np.tile([1.0, 0.0], 50)}
    of_twins = metric.figure(twins, 0, [i // 2 for i in range(100)])
    assert (of_twins.low, of_twins.high) == (
        metric.figure(twins, 0).low,
        metric.figure(twins, 0).high,
    )
    assert metric.figure(twins, 0, ["one"] * 100).low < 0.1
    assert mean("m", "x").figure({"x": np.ones(4)}, 0, [1] * 4).interval == "none, of one cluster"
    assert metric.figure(twins, 0, list(range(100))) == metric.figure(twins, 0)


def test_whole_clusters_are_drawn_as_a_loop_draws_them():
    clusters = ["b", "a", "b", "c", "c", "b"]
    members = {"b": [0, 2, 5], "a": [1], "c": [3, 4]}
    rng, order = np.random.default_rng(3), ["b", "a", "c"]
    for chosen, _ in zip(resamples(6, 3, clusters), range(20), strict=False):
        drawn = rng.integers(3, size=3)
        assert chosen.tolist() == [i for number in drawn for i in members[order[number]]]
    singles = zip(resamples(6, 3, list("abcdef")), resamples(6, 3), strict=True)
    assert all((one == other).all() for one, other in singles)
