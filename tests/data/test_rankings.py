"""Rankings: who prefers which, and agreement, against loops over annotators and pairs."""

import itertools
import math

import numpy as np
import pytest

from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.rankings import Agreement, Ranking, agreement

PROMPT = (Message("user", "q"),)


def ranking(*ranks):
    return Ranking(PROMPT, tuple("abcdefghi"[: len(ranks[0])]), ranks)


def random_rankings(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        ranking(*map(tuple, rng.integers(0, 4, (rng.integers(1, 5), rng.integers(2, 7))).tolist()))
        for _ in range(count)
    ]


def test_preferred_by_hand():
    found = ranking((1, 3, 1), (1, 2, 3)).preferred()
    np.testing.assert_array_equal(found, np.float32([[0, 1, 0.5], [0, 0, 0.5], [0, 0.5, 0]]))
    assert found.dtype == np.float32


def test_preferred_against_a_loop():
    for one in random_rankings(50):
        count = len(one.responses)
        expected = np.zeros((count, count), np.float32)
        for i, j in itertools.product(range(count), repeat=2):
            votes = [ranks[i] < ranks[j] for ranks in one.ranks]
            expected[i, j] = np.float32(sum(votes) / len(votes))
        np.testing.assert_array_equal(one.preferred(), expected)


def side(ranks, i, j):
    return (ranks[i] > ranks[j]) - (ranks[i] < ranks[j])


def test_agreement_against_a_loop():
    rankings = random_rankings(40)
    agreed = opposed = one_tied = both_tied = 0
    for one in rankings:
        for i, j in itertools.combinations(range(len(one.responses)), 2):
            for a, b in itertools.combinations(one.ranks, 2):
                x, y = side(a, i, j), side(b, i, j)
                agreed += x == y
                both_tied += x == y == 0
                opposed += x == -y != 0
                one_tied += (x == 0) != (y == 0)
    found = agreement(rankings)
    assert found == Agreement(agreed, opposed, one_tied, both_tied)
    assert found.rate == (agreed - both_tied) / (agreed - both_tied + opposed)
    assert found.rate_with_ties == agreed / (agreed + opposed + one_tied)
    alone = agreement([ranking((1, 2))])
    assert math.isnan(alone.rate) and math.isnan(alone.rate_with_ties)


@pytest.mark.parametrize(
    ("prompt", "responses", "ranks", "message"),
    [
        ((), ("a", "b"), ((1, 2),), "ranking: got no prompt, expected at least one message"),
        (PROMPT, ("a",), ((1,),), r"ranking: got 1 answer\(s\), expected at least 2"),
        (PROMPT, ("a", "b"), (), "ranking: got no ranks, expected those of at least one annot"),
        (PROMPT, ("a", "b"), ((1, 2), (1, 2, 3)), "annotator 1: got 3 for 2 answers, expected as"),
        (PROMPT, ("a", "b"), ((1, "2"),), "annotator 0: got '2', expected finite numbers"),
        (PROMPT, ("a", "b"), ((1, True),), "annotator 0: got True, expected finite numbers"),
        (PROMPT, ("a", "b"), ((1, math.nan),), "annotator 0: got nan, expected finite numbers"),
        (PROMPT, ("a", "b"), ((1, -math.inf),), "annotator 0: got -inf, expected finite numbers"),
        (
            PROMPT,
            ("a", "b", "a"),
            ((1, 2, 1), (1, 2, 3)),
            "^ranks of annotator 1: got 1 and 3 for the same answer 'a', expected the same rank$",
        ),
    ],
)
def test_what_is_no_ranking(prompt, responses, ranks, message):
    with pytest.raises(ValueError, match=message):
        Ranking(prompt, responses, ranks)


def test_the_same_answer_twice_is_a_tie():
    found = Ranking(PROMPT, ("a", "b", "a"), ((1, 2, 1.0),)).preferred()
    np.testing.assert_array_equal(found, np.float32([[0, 1, 0], [0, 0, 0], [0, 1, 0]]))
