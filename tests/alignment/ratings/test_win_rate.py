"""Win rates against loops, scipy's intervals and simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest

from gptjax.alignment.ratings.win_rate import win_rate


def test_wins_ties_and_losses_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(4, size=(7, 3)), rng.integers(4, size=(7, 2))
    wins = ties = losses = 0
    for prompt in range(7):
        for a in ours[prompt]:
            for b in theirs[prompt]:
                wins, ties, losses = wins + (a > b), ties + (a == b), losses + (a < b)
    rate = win_rate(ours, theirs)
    assert (rate.wins, rate.ties, rate.losses, rate.prompts) == (wins, ties, losses, 7)
    assert rate.rate == pytest.approx((wins + ties / 2) / 42)
    assert 0 < rate.low < rate.rate < rate.high < 1


@pytest.mark.parametrize("won", [0, 3, 60, 100])
def test_without_ties_the_interval_is_wilsons(won):
    ours = np.arange(100) < won
    rate = win_rate(ours, ~ours)
    expected = binomtest(won, 100).proportion_ci(method="wilson")
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Outcomes with ties; and four answers a side whose prompts differ in how hard they are."""
    rng, held = np.random.default_rng(1), {"ties": 0, "several": 0}
    for _ in range(400):
        with_ties = rng.choice([1.0, 0.5, 0.0], p=[0.5, 0.2, 0.3], size=80)
        rate = win_rate(with_ties, np.full(80, 0.5))
        held["ties"] += rate.low <= 0.6 <= rate.high
        shift = rng.normal(size=(80, 1))
        rate = win_rate(shift + rng.normal(size=(80, 4)), rng.normal(size=(80, 4)))
        held["several"] += rate.low <= 0.5 <= rate.high
    assert 0.93 <= held["ties"] / 400 <= 1.0
    assert 0.92 <= held["several"] / 400 <= 0.98


def test_scores_within_the_margin_tie():
    rate = win_rate([1.0, 1.0, 1.0], [1.05, 0.5, 1.5], tie_margin=0.1)
    assert (rate.wins, rate.ties, rate.losses, rate.rate) == (1, 1, 1, 0.5)
    assert win_rate([0.0, 1.0], [0.0, 1.0]).low < 0.5 < win_rate([0.0, 1.0], [0.0, 1.0]).high


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ([], [], r"scores: got shapes \[0\] and \[0\], expected \[N\] or"),
        ([1.0], [1.0, 2.0], r"scores: got shapes \[1\] and \[2\]"),
        ([1.0], [np.nan], "scores: got 1 that are NaN"),
    ],
)
def test_what_cannot_be_compared_is_refused(ours, theirs, message):
    with pytest.raises(ValueError, match=message):
        win_rate(ours, theirs)
    with pytest.raises(ValueError, match="tie_margin: got -1, expected 0 or more"):
        win_rate([1.0], [1.0], tie_margin=-1)
