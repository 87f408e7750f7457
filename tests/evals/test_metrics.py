"""Figures, intervals and paired tests against loops and closed forms."""

import itertools
import math

import numpy as np
import pytest

from gptjax.evals.metrics import bits_per, exponential, mean, paired, share

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
