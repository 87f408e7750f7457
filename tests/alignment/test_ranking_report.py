import math

import numpy as np
import pytest
from scipy.stats import binomtest

from gptjax.alignment.ranking_report import ranking_report, wilson_interval
from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.rankings import Ranking, agreement

PROMPT = (Message("user", "?"),)


def made(seed=0, count=30, annotators=3):
    """Rankings of two to four answers with ties, and rewards some of which are equal."""
    rng = np.random.default_rng(seed)
    rankings, rewards = [], []
    for _ in range(count):
        answers = int(rng.integers(2, 5))
        ranks = rng.integers(0, 3, (annotators, answers)).tolist()
        rankings.append(Ranking(PROMPT, tuple("abcd"[:answers]), tuple(map(tuple, ranks))))
        rewards.append(rng.integers(-2, 3, answers) / 2)
    return rankings, rewards


def test_the_accuracy_is_that_of_a_loop_over_annotators_and_pairs():
    rankings, rewards = made()
    right = total = 0
    for ranking, given in zip(rankings, rewards, strict=True):
        for ranks in ranking.ranks:
            for i in range(len(given)):
                for j in range(i):
                    if ranks[i] != ranks[j]:
                        agrees = (given[i] - given[j]) * (ranks[j] - ranks[i])
                        right += 0.5 if agrees == 0 else agrees > 0
                        total += 1
    report = ranking_report(rankings, rewards)
    assert report["comparisons"] == total
    assert report["accuracy"] == pytest.approx(right / total, rel=1e-12)
    assert sum(row["comparisons"] for row in report["calibration"]) == total
    low, high = report["accuracy_interval"]
    assert 0 < low < report["accuracy"] < high < 1
    assert report["agreement"] == agreement(rankings).rate


def test_rewards_of_other_answers_are_refused():
    rankings, rewards = made(count=2)
    with pytest.raises(ValueError, match=r"^rewards: got shape \[9\], expected \[\d\], one for"):
        ranking_report(rankings, [rewards[0], np.zeros(9)])


def test_one_annotator_has_nobody_to_agree_with():
    report = ranking_report(*made(annotators=1))
    assert report["agreement"] is report["agreement_with_ties"] is None


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


def test_comparisons_that_say_the_same_count_once():
    right = np.array([1, 0, 1, 1, 1, 0, 1])
    many, few = wilson_interval(6 * right, np.full(7, 6)), wilson_interval(right, np.ones(7))
    assert many == pytest.approx(few)


def test_the_interval_covers_what_is_so_whatever_hangs_together():
    """Prompts of six comparisons, whose probabilities are far apart."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        right = rng.binomial(6, rng.choice([0.3, 0.9], 60))
        low, high = wilson_interval(right, np.full(60, 6))
        covered += low <= 0.6 <= high
    assert 0.92 <= covered / 400 <= 0.98
