"""A grader: how it is asked, how its choice is read, and how choices are counted."""

import math
import random
from pathlib import Path

import pytest

from gptjax.evals.openai_evals.classes import make
from gptjax.evals.openai_evals.classes.base import GRADER, Context
from gptjax.evals.openai_evals.classes.choices import (
    INVALID,
    asking,
    choice_of,
    choices_of,
    score_of,
    scores_of,
    strict_choice_of,
)
from gptjax.evals.openai_evals.registry import Registry
from tests.support import openai_registry

YES = ["Yes", "No", "Unsure"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return openai_registry.write(tmp_path_factory.mktemp("openai"))


def made(root, name: str, functions: int = 1, strict: bool = False, **args):
    registry = Registry([root])
    entry = registry.eval(name)
    context = Context(registry, root, functions, strict_choice=strict)
    return make(entry.key, entry.class_name or "", context, {**entry.args, **args})


def asked(one, sample, *texts):
    asks, calls = one.asks(sample, random.Random(0)), []
    calls.append(next(asks))
    for text in texts:
        try:
            calls.append(asks.send(text))
        except StopIteration as end:
            return calls, end.value[0].data
    raise AssertionError("it asks for more")


@pytest.mark.parametrize(
    ("text", "eval_type", "match_fn", "choices", "choice"),
    [
        ("Yes", "classify", "starts_or_endswith", YES, "Yes"),
        ("Yes.\nNo", "classify_cot", "starts_or_endswith", YES, "Yes"),
        ("Yes.\nNo", "cot_classify", "starts_or_endswith", YES, "No"),
        ("Yes.\n(No)!\n\n", "cot_classify_jp", "starts_or_endswith", YES, "No"),
        ("I say:\n No. \n", "cot_classify", "exact", YES, "No"),
        ("I say No", "classify", "exact", YES, INVALID),
        ("No, I say", "classify", "endswith", YES, INVALID),
        ("Is it No or so", "classify", "include", YES, INVALID),
        ("Uns", "classify", "include", YES, "Unsure"),
        ("perhaps", "classify", "starts_or_endswith", YES, INVALID),
        ("", "classify", "starts_or_endswith", YES, INVALID),
        ("Answer: B", "classify", "starts_or_endswith", list("ABCDE"), "A"),
    ],
)
def test_a_choice_is_read_as_the_format_does(text, eval_type, match_fn, choices, choice):
    assert choice_of(text, eval_type, match_fn, choices) == choice


@pytest.mark.parametrize(
    ("text", "eval_type", "choice"),
    [
        ("Answer: B", "classify", "B"),
        ("The answer is (B).", "classify", "B"),
        ("**B**", "classify", "B"),
        ("A good text, though not short\n\nB", "cot_classify", "B"),
        ("A good text.", "cot_classify", INVALID),
        ("B\nA good text.", "classify_cot", "B"),
        ("Answer: AB", "classify", INVALID),
        ("b", "classify", INVALID),
        ("I would choose B", "classify", INVALID),
    ],
)
def test_strictly_a_line_must_state_its_choice(text, eval_type, choice):
    assert strict_choice_of(text, eval_type, list("ABCDE")) == choice


def test_choices_and_their_scores():
    assert choices_of("from_n", 3) == ["1", "2", "3"]
    assert choices_of("from_n_abc", 2) == ["a", "b"] and choices_of("from_n_ABC", 1) == ["A"]
    assert choices_of("12", 9) == ["1", "2"]
    assert scores_of("from_strings", ["1", "5"]) == {"1": 1.0, "5": 5.0}
    scores = scores_of({"Yes": 1.0, "No": -2}, ["Yes", "No"])
    assert [score_of(choice, scores) for choice in ("Yes", INVALID)] == [1.0, -2.0]
    assert score_of("Yes", None) is None
    with pytest.raises(ValueError, match="got 'A\\.', expected none with punctuation"):
        choices_of(["A."], 1)
    with pytest.raises(ValueError, match="got none of 'No', expected one a choice"):
        scores_of({"Yes": 1}, ["Yes", "No"])
    with pytest.raises(ValueError, match="expected a number a choice"):
        scores_of("from_strings", ["Yes"])


def test_the_grader_is_told_how_to_answer_and_the_specification_is_not_changed():
    prompt = [{"role": "system", "content": "Grade."}, {"role": "user", "content": "It."}]
    told = [asking(prompt, "classify", ["Yes", "No"]) for _ in range(2)]
    assert told[0] == told[1] and told[0][0] == prompt[0]
    assert told[0][1]["content"] == (
        'It.\n\nAnswer the question by printing only a single choice from "Yes" or "No" (without '
        "quotes or punctuation) corresponding to the correct answer with no other text."
    )


def test_an_answer_is_asked_for_and_then_graded(root):
    one = made(root, "graded-classify.dev.v0")
    sample = {
        "input": [{"role": "system", "content": "Say {x}."}, {"role": "user", "content": "{}"}],
        "ideal": "fox",
    }
    (first, second), metrics = asked(one, sample, "{fox}", "Unsure.")
    kept = {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "n": 1}
    assert first.prompt == sample["input"] and first.by == 0
    assert first.arguments == {"max_tokens": 1024, "temperature": 0, **kept}
    (message,) = second.prompt
    # The format escapes braces of inputs, and the grader sees them doubled.
    assert message["content"].startswith("Is {fox} right for Say {{x}}.\nUser: {{}}\n, and not fox")
    assert second.by == GRADER
    assert metrics == {"choice": "Unsure", "score": 0.5}
    assert sample["input"][0]["content"] == "Say {x}."


def test_a_sample_with_an_answer_is_graded_only_and_the_grader_is_judged(root):
    one = made(root, "graded-meta.dev.v0")
    sample = {"input": "x", "completion": "y", "ideal": "z", "choice": "No"}
    (call,), metrics = asked(one, sample, "Yes")
    assert "Is y right for x" in call.prompt[0]["content"]
    assert metrics == {"choice": "Yes", "score": 1.0, "metascore": False}
    with pytest.raises(ValueError, match="got input, completion, ideal, expected 'choice' too"):
        asked(one, {"input": "x", "completion": "y", "ideal": "z"}, "Yes")


def test_several_answers_are_one_text(root):
    sample = {"input": "Say.", "ideal": "x"}
    for functions, by in ((1, [0, 0, 0]), (4, [0, 1, 2])):
        calls, metrics = asked(made(root, "graded-best.dev.v0", functions), sample, *"pqr", "C")
        assert [call.by for call in calls] == [*by, GRADER]
        assert calls[0].arguments["temperature"] == 0.4
        content = calls[-1].prompt[0]["content"]
        assert content.startswith("Which of 3 is best for Say.?\nA 1 a) p\nB 2 b) q\nC 3 c) r\n\n")
        assert metrics == {"choice": "C", "score": None}


def test_arguments_fill_the_graders_prompt(root):
    (_, call), metrics = asked(
        made(root, "graded-own.dev.v0"), {"input": "Say.", "ideal": "x"}, "fox", "so 5\n4.\n..."
    )
    assert call.prompt == [{"role": "user", "content": "Is it a {word}? fox"}]
    assert metrics == {"choice": "4", "score": 4.0}


def test_strict_reading_is_asked_for(root):
    sample = {"input": "Say.", "ideal": "x"}
    for strict, choice in ((False, "A"), (True, "B")):
        one = made(root, "graded-cot-first.dev.v0", strict=strict)
        assert asked(one, sample, "fox", "Answer: B")[1]["choice"] == choice


def test_the_report_counts_choices(root):
    one = made(root, "graded-meta.dev.v0")
    rows = [
        {"choice": "Yes", "score": 1.0, "metascore": True},
        {"choice": INVALID, "score": 0.0, "metascore": False},
        {"choice": "Yes", "score": 1.0, "metascore": True},
    ]
    report = one.report({"metrics": rows})
    assert report.pop("score") == pytest.approx(2 / 3)
    assert report == {"counts/Yes": 2, "counts/__invalid__": 1, "metascore": pytest.approx(2 / 3)}
    assert one.report({}) == {}
    assert not math.isnan(report["metascore"])


@pytest.mark.parametrize(
    ("name", "functions", "args", "said"),
    [
        ("graded-best.dev.v0", 3, {}, "multicomp_n: got 3 with 2 completion functions before the"),
        ("graded-best.dev.v0", 1, {"multicomp_n": "from_models"}, "got from_models with one model"),
        ("graded-best.dev.v0", 1, {"multicomp_n": "many"}, "got 'many', expected a whole number"),
        ("graded-cot.dev.v0", 1, {"multicomp_n": 2}, "got no output_template, expected one with"),
        ("graded-cot.dev.v0", 1, {"eval_type": "cot"}, "unknown eval_type 'cot'"),
        ("graded-cot.dev.v0", 1, {"eval_type": None}, "eval_type: got none, here or in the model"),
        ("graded-cot.dev.v0", 1, {"match_fn": "like"}, "unknown match_fn 'like'"),
        ("graded-cot.dev.v0", 1, {"modelgraded_spec": "rigt"}, "(did you mean 'right'?)"),
    ],
)
def test_wrong_arguments_are_refused(root, name, functions, args, said):
    with pytest.raises(ValueError) as refused:
        made(root, name, functions, **args)
    assert said in str(refused.value) and str(refused.value).startswith(f"eval {name!r}: ")
