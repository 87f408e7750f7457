import numpy as np
import pytest

from gptjax.alignment.ranking_report import ranking_report
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
