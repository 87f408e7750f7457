"""Wilson's interval of items that hang together, against closed forms and by how often it holds."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, t

from gptjax.alignment.intervals import wilson_interval


@pytest.mark.parametrize("right", [0, 3, 11, 20])
def test_single_comparisons_have_wilsons_interval(right):
    expected = binomtest(right, 20).proportion_ci(0.95, "wilson")
    got = wilson_interval([1] * right + [0] * (20 - right), [1] * 20)
    assert got == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_prompts_of_one_share_count_once_each_although_a_third_is_rounded():
    assert wilson_interval([1] * 20, [3] * 20) == wilson_interval([10] * 20, [30] * 20)
    low, high = wilson_interval([1] * 20, [3] * 20)
    many_low, many_high = wilson_interval([1] * 200, [3] * 200)
    assert high - low == pytest.approx(math.sqrt(10) * (many_high - many_low), rel=0.1)


def test_items_that_say_the_same_count_once_less_what_seven_clusters_may_be_off():
    """Korn and Graubard's factor: the quantile of t for 41 degrees of freedom over that for 6."""
    right = np.array([1, 0, 1, 1, 1, 0, 1])
    low, high = wilson_interval(6 * right, np.full(7, 6))
    size, share, z = 6 * (t.ppf(0.975, 41) / t.ppf(0.975, 6)) ** 2, 5 / 7, 1.959963984540054
    for end in (low, high):  # Wilson's ends are where the share is z errors away
        assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / size))
    few_low, few_high = wilson_interval(right, np.ones(7))
    assert low < few_low and few_high < high


@pytest.mark.parametrize(
    ("clusters", "items", "correlation"), [(60, 6, 0.4), (60, 6, 0.0), (10, 10, 0.3), (4, 10, 0.3)]
)
def test_the_interval_covers_what_is_so_whatever_hangs_together(clusters, items, correlation):
    """Clusters, few or many, whose probabilities are 0.6, or drawn from a beta distribution."""
    rng, covered, plain = np.random.default_rng(0), 0, 0
    spread = 1 / correlation - 1 if correlation else math.inf
    for _ in range(600):
        of = rng.beta(0.6 * spread, 0.4 * spread, clusters) if correlation else 0.6
        right = rng.binomial(items, of, clusters)
        low, high = wilson_interval(right, np.full(clusters, items))
        covered += low <= 0.6 <= high
        ends = binomtest(int(right.sum()), clusters * items).proportion_ci(method="wilson")
        plain += ends.low <= 0.6 <= ends.high
    assert 0.92 <= covered / 600 <= 0.98
    assert (plain / 600 < 0.85) == (correlation > 0)


def test_the_interval_of_nothing_begins_at_0_and_that_of_all_ends_at_1():
    for count in range(1, 300):
        assert wilson_interval([0] * count, [1] * count)[0] == 0.0
        assert wilson_interval([1] * count, [1] * count)[1] == 1.0


def test_one_cluster_and_opposite_twins_count_each_as_one_item():
    assert wilson_interval([8], [10])[0] == pytest.approx(wilson_interval([0.8], [1])[0])
    assert wilson_interval([1] * 50, [2] * 50) == wilson_interval([0.5] * 50, [1] * 50)
    assert wilson_interval([6] * 5, [6] * 5) == wilson_interval([1] * 5, [1] * 5)
