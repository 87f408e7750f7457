"""Ratings against a published table, closed forms and a general optimiser on the likelihood."""

import itertools
import math
import re

import numpy as np
import pytest
from scipy.optimize import minimize

from gptjax.alignment.ratings.elo import POINTS_PER_NAT, Judgement, fit_ratings
from gptjax.alignment.ratings.elo_clusters import clustered

# American League East 1987, home and away together (Agresti, Categorical Data Analysis, table
# 10.10): wins of the first over the second, and of the second over the first.
BASEBALL = """
Milwaukee Detroit 7 6
Milwaukee Toronto 9 4
Milwaukee New_York 7 6
Milwaukee Boston 7 6
Milwaukee Cleveland 9 4
Milwaukee Baltimore 11 2
Detroit Toronto 7 6
Detroit New_York 5 8
Detroit Boston 11 2
Detroit Cleveland 9 4
Detroit Baltimore 9 4
Toronto New_York 7 6
Toronto Boston 7 6
Toronto Cleveland 8 5
Toronto Baltimore 12 1
New_York Boston 6 7
New_York Cleveland 7 6
New_York Baltimore 10 3
Boston Cleveland 7 6
Boston Baltimore 12 1
Cleveland Baltimore 6 7
"""
# Log-odds against Baltimore with standard errors, as R's BradleyTerry2 prints them (its vignette).
PUBLISHED = {
    "Boston": (1.1077, 0.3339),
    "Cleveland": (0.6839, 0.3319),
    "Detroit": (1.4364, 0.3396),
    "Milwaukee": (1.5814, 0.3433),
    "New_York": (1.2476, 0.3359),
    "Toronto": (1.2945, 0.3367),
}


def games(table):
    """Judgements of rows "first second wins losses [ties]"."""
    for line in table.split("\n"):
        if line.strip():
            first, second, *counts = line.split()
            for outcome, count in zip((1.0, 0.0, 0.5), map(int, counts), strict=False):
                yield from [Judgement(first, second, outcome)] * count


def test_baseball_of_1987_is_as_published():
    ratings = fit_ratings(games(BASEBALL))
    one_sigma = math.erf(1 / math.sqrt(2))
    for name, (strength, error) in PUBLISHED.items():
        lead, low, high = ratings.difference(name, "Baltimore", one_sigma)
        assert lead / POINTS_PER_NAT == pytest.approx(strength, abs=6e-5)
        assert (high - low) / 2 / POINTS_PER_NAT == pytest.approx(error, abs=6e-5)
    rows = ratings.rows()
    assert [row.name for row in rows][:2] == ["Milwaukee", "Detroit"]
    assert np.mean([row.rating for row in rows]) == pytest.approx(1000)
    assert {row.judgements for row in rows} == {78}


TIES = """
a b 7 3 4
b c 5 6 2
a c 9 2 5
c d 4 4 0
d a 1 6 3
"""


def negative_log_likelihood(x, judgements, names):
    """Davidson's, one judgement at a time; the last of `x` is log nu."""
    total = 0.0
    for one in judgements:
        pi = {name: math.exp(s) for name, s in zip(names, x[:-1], strict=True)}
        p, q = pi[one.first], pi[one.second]
        tie = math.exp(x[-1]) * math.sqrt(p * q)
        total -= math.log({1.0: p, 0.0: q, 0.5: tie}[one.outcome] / (p + q + tie))
    return total


@pytest.mark.parametrize("prior", [None, 200.0])
def test_ties_are_davidsons_by_a_general_optimiser(prior):
    judgements = list(games(TIES))
    ratings = fit_ratings(judgements, prior=prior)
    names = list(ratings.names)
    pull = 0.0 if prior is None else (POINTS_PER_NAT / prior) ** 2

    def objective(x):
        # The sum of strengths is free without a prior: it is held at 0.
        held = np.sum(x[:-1]) ** 2 if prior is None else 0.0
        ridge = 0.5 * pull * np.sum(x[:-1] ** 2)
        return negative_log_likelihood(x, judgements, names) + held + ridge

    found = minimize(objective, np.zeros(len(names) + 1), method="BFGS", tol=1e-9)
    np.testing.assert_allclose(ratings.strengths, found.x[:-1] - found.x[:-1].mean(), atol=2e-5)
    assert ratings.ties == pytest.approx(math.exp(found.x[-1]), rel=1e-4)

    step, size = 1e-3, len(names) + 1
    hessian = np.zeros((size, size))
    for i, j in itertools.product(range(size), repeat=2):
        for a, b in itertools.product((-1, 1), repeat=2):
            x = found.x.copy()
            x[i] += a * step
            x[j] += b * step
            hessian[i, j] += a * b * objective(x) / (4 * step * step)
    contrast = np.zeros(size)
    contrast[names.index("a")], contrast[names.index("c")] = 1, -1
    deviation = math.sqrt(contrast @ np.linalg.inv(hessian) @ contrast)
    lead, low, high = ratings.difference("a", "c")
    assert (high - low) / 2 == pytest.approx(1.959964 * deviation * POINTS_PER_NAT, rel=1e-3)
    assert lead == pytest.approx((found.x[0] - found.x[2]) * POINTS_PER_NAT, abs=1e-2)


def test_two_names_have_a_closed_form():
    ratings = fit_ratings([Judgement("a", "b", 1.0)] * 30 + [Judgement("b", "a", 1.0)] * 10)
    lead, low, high = ratings.difference("a", "b")
    assert lead == pytest.approx(400 * math.log10(3))
    assert high - lead == pytest.approx(1.959964 * POINTS_PER_NAT / math.sqrt(40 * 0.75 * 0.25))
    assert lead - low == pytest.approx(high - lead)
    best, worst = ratings.rows()
    assert (best.rating - worst.rating, best.name) == (pytest.approx(lead), "a")
    assert best.high - best.low == pytest.approx((high - low) / 2)

    tied = fit_ratings([Judgement("a", "b", o) for o in [1.0] * 6 + [0.0] * 2 + [0.5] * 4])
    assert tied.difference("a", "b")[0] == pytest.approx(400 * math.log10(3))
    assert tied.ties == pytest.approx((4 / 12) / math.sqrt(6 / 12 * 2 / 12))


def test_order_and_direction_of_judgements_do_not_matter():
    judgements = list(games(TIES))
    turned = [Judgement(j.second, j.first, 1 - j.outcome) for j in reversed(judgements)]
    one, other = fit_ratings(judgements), fit_ratings(turned)
    for name in one.names:
        assert one.rewards()[name] == pytest.approx(other.rewards()[name])
    rewards = list(one.rewards().values())
    assert (np.mean(rewards), np.std(rewards)) == (pytest.approx(0), pytest.approx(1))


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    strengths = np.array([0.6, 0.1, -0.7])
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(200):
        judgements = []
        for i, j in itertools.combinations(range(3), 2):
            chance = 1 / (1 + math.exp(strengths[j] - strengths[i]))
            wins = rng.binomial(40, chance)
            outcomes = [1.0] * wins + [0.0] * (40 - wins)
            judgements += [Judgement(str(i), str(j), o) for o in outcomes]
        for row in fit_ratings(judgements).rows(0.9, centre=0.0):
            truth = strengths[int(row.name)] * POINTS_PER_NAT
            inside.append(row.low <= truth <= row.high)
    assert 0.86 < np.mean(inside) < 0.94


def test_a_name_that_always_wins_needs_a_prior():
    judgements = [*games("a b 3 2\nc a 4 0\nc b 4 0")]
    with pytest.raises(ValueError, match="got c never beaten or tied by the others"):
        fit_ratings(judgements)
    loose, tight = (fit_ratings(judgements, prior=prior) for prior in (1000.0, 100.0))
    assert loose.rows()[0].name == tight.rows()[0].name == "c"
    assert loose.difference("c", "a")[0] > 2 * tight.difference("c", "a")[0] > 0


@pytest.mark.parametrize(
    ("table", "finite"),
    [
        ("a b 5 0 1", False),  # a loss of b's has no chance at all in the limit
        ("a b 5 1 1", True),
        ("a b 5 0 1\nb c 2 2 1", True),
        ("a b 2 0 1\nb c 2 0 1\na c 0 0 3", True),  # a cycle of two wins and one tie
        ("a b 2 0 1\nb c 2 0 1\na c 1 0 0\nc d 0 0 2", False),
    ],
)
def test_ties_bound_strengths_only_where_the_order_of_wins_is_broken(table, finite):
    judgements = list(games(table))
    if not finite:
        with pytest.raises(ValueError, match=r"^judgements: got"):
            fit_ratings(judgements)
        assert np.isfinite(fit_ratings(judgements, prior=400.0).strengths).all()
        return
    ratings = fit_ratings(judgements)
    assert np.abs(ratings.strengths).max() < 10
    names, x = list(ratings.names), [*ratings.strengths, math.log(ratings.ties)]
    best = negative_log_likelihood(x, judgements, names)
    for i, step in itertools.product(range(len(x)), (-0.1, 0.1)):
        moved = list(x)
        moved[i] += step
        assert negative_log_likelihood(moved, judgements, names) > best


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        ([], "judgements: got none"),
        ([("a", "b", 0.7)], "judgement 0: got outcome 0.7, expected 1 (first)"),
        ([("a", "b", 1), ("a", "a", 1)], "judgement 1: got 'a' twice"),
        ([("a", "b", 1), ("c", "d", 1)], "got 2 groups that nothing compares (a, b; c, d)"),
    ],
)
@pytest.mark.parametrize("prior", [None, 400.0])
def test_judgements_that_rate_nobody_are_refused_prior_or_not(judgements, message, prior):
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_ratings([Judgement(*one) for one in judgements], prior=prior)


@pytest.mark.parametrize("prior", [None, 400.0])
def test_systems_that_always_tie_are_rated_alike(prior):
    """Intervals are those of as many judgements that a coin decides."""
    ties = [Judgement(*pair, 0.5) for pair in (("a", "b"), ("b", "c"), ("c", "a")) * 6]
    ratings = fit_ratings(ties, prior=prior)
    coins = [Judgement(one.first, one.second, float(i % 2)) for i, one in enumerate(ties)]
    np.testing.assert_allclose(ratings.strengths, 0.0, atol=1e-12)
    np.testing.assert_allclose(ratings.covariance, fit_ratings(coins, prior=prior).covariance)
    assert set(ratings.rewards().values()) == {0.0} and ratings.counts.tolist() == [12] * 3
    of_clusters = clustered(ratings, ties, list(range(len(ties))), prior=prior)
    np.testing.assert_array_equal(of_clusters.covariance, ratings.covariance)


def test_equal_strengths_are_not_stretched_to_a_deviation_of_one():
    ratings = fit_ratings(games("a b 3 3\nb c 7 7\na c 11 11"))
    assert set(ratings.rewards().values()) == {0.0}


def test_wrong_options_are_refused():
    ratings = fit_ratings(games("a b 3 2"))
    with pytest.raises(ValueError, match="confidence: got 95"):
        ratings.rows(confidence=95)
    with pytest.raises(ValueError, match="got name 'c', expected one of: a, b"):
        ratings.difference("a", "c")
    with pytest.raises(ValueError, match="prior: got 0"):
        fit_ratings(games("a b 3 2"), prior=0)
