"""Composed rewards: sums, parts, rubrics, and what is said of a function that fails."""

import numpy as np
import pytest

from gptjax.alignment.rewards import BatchReward, Reward, RuleBased, composed

PROMPTS = ["say a", "say bb\nnow", "say ccc"]
RESPONSES = ["a", "bb", "no"]


def test_totals_are_weighted_sums_and_parts_are_what_each_gave():
    total, parts = composed(
        [
            BatchReward("model", lambda p, r: np.array([0.5, -1.25, 3.0])),
            Reward("length", lambda p, r: len(r) / 4, weight=-2.0),
            Reward("seen", lambda p, r: r in p, weight=0.0),
        ],
        PROMPTS,
        RESPONSES,
    )
    assert {name: part.tolist() for name, part in parts.items()} == {
        "model": [0.5, -1.25, 3.0],
        "length": [0.25, 0.5, 0.5],
        "seen": [1.0, 1.0, 0.0],
    }
    assert total.tolist() == [0.0, -2.25, 2.0]
    assert {part.dtype for part in [total, *parts.values()]} == {np.dtype(np.float32)}


def test_a_first_reward_of_an_integer_truncates_nothing_after_it():
    given = iter([1, 0.5, -0.25])
    total, _ = composed([Reward("mixed", lambda p, r: next(given))], PROMPTS, RESPONSES)
    assert total.tolist() == [1.0, 0.5, -0.25]
    scores = np.array([1, 2, 3])
    total, _ = composed([BatchReward("whole", lambda p, r: scores, weight=0.5)], PROMPTS, RESPONSES)
    assert total.tolist() == [0.5, 1.0, 1.5]


def test_a_rubric_scores_the_class_that_the_classifier_finds():
    seen = []

    def classify(rubric, prompt, response):
        seen.append((rubric, prompt, response))
        return "refusal" if response == "no" else "answer"

    scores = {"refusal": 1.0, "answer": -0.5}
    for reads_prompt in (True, False):
        rule = RuleBased("Refused?", classify, scores, reads_prompt)
        total, _ = composed([Reward("rule", rule)], PROMPTS, RESPONSES)
        assert total.tolist() == [-0.5, -0.5, 1.0]
    assert seen[0] == ("Refused?", "say a", "a") and seen[3] == ("Refused?", None, "a")


def failing(prompt, response):
    return 1 / (len(response) - 2)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (failing, "row 1 (prompt 'say bb\\nnow'): got ZeroDivisionError: division by zero"),
        (lambda p, r: float("nan") if r == "no" else 0, "row 2 (prompt 'say ccc'): got nan"),
        (lambda p, r: 1e39, "row 0 (prompt 'say a'): got 1e+39, expected a finite number"),
        (lambda p, r: None, "row 0 (prompt 'say a'): got None, expected a finite number"),
        (lambda p, r: "3", "row 0 (prompt 'say a'): got '3', expected a finite number"),
        (
            RuleBased("?", lambda *_: "C", {"A": 1, "B": 0}),
            "row 0 (prompt 'say a'): got ValueError: class 'C', not one of: A, B, expected",
        ),
    ],
)
def test_a_function_that_fails_is_named_with_the_row(function, message):
    rewards = [Reward("fine", lambda p, r: 0.0), Reward("mine", function)]
    with pytest.raises(ValueError) as caught:
        composed(rewards, PROMPTS, RESPONSES)
    said = str(caught.value)
    assert said.startswith("reward 'mine', " + message) and "\n" not in said


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p, r: [1.0, 2.0], "reward 'model': got shape [2], expected [3]"),
        (lambda p, r: [1.0, np.inf, 2.0], "reward 'model', row 1 (prompt 'say bb"),
        (lambda p, r: p[7], "reward 'model', of 3 rows: got IndexError: list index out of range"),
    ],
)
def test_a_batch_that_fails_is_named(function, message):
    with pytest.raises(ValueError) as caught:
        composed([BatchReward("model", function)], PROMPTS, RESPONSES)
    assert str(caught.value).startswith(message)


def test_a_long_prompt_is_cut_short_in_a_message():
    with pytest.raises(ValueError, match=r"row 0 \(prompt 'x{36}\.\.\.\)"):
        composed([Reward("mine", lambda p, r: None)], ["x" * 500], ["y"])


@pytest.mark.parametrize(
    ("rewards", "responses", "message"),
    [
        ([], RESPONSES, r"rewards: got \[\], expected one or more"),
        ([Reward("a", failing), Reward("a", failing)], RESPONSES, "of different names"),
        ([Reward("a", failing)], ["x"], "responses: got 1, expected 3"),
        ([Reward("a", failing, weight=float("inf"))], RESPONSES, "got weight inf"),
    ],
)
def test_rewards_that_do_not_fit_are_refused(rewards, responses, message):
    with pytest.raises(ValueError, match=message):
        composed(rewards, PROMPTS, responses)
