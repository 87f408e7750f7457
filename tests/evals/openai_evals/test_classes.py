"""Classes that need no grader: worked examples of the original's tests, and loops beside them."""

import collections
import math
import random
from pathlib import Path

import numpy as np
import pytest

from gptjax.evals.openai_evals.classes import CLASSES, make
from gptjax.evals.openai_evals.classes.base import Call, Context, Event, bootstrap_std
from gptjax.evals.openai_evals.registry import Registry
from tests.support import openai_registry

NAMES = {made.__name__: name for name, made in CLASSES.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return openai_registry.write(tmp_path_factory.mktemp("openai"))


def made(name: str, root: Path = Path("."), **args):
    context = Context(Registry([root]), root, datasets=openai_registry.datasets(root))
    return make(f"{name}.dev", NAMES[name], context, args)


def asked(one, sample, *texts: str, rng=None) -> tuple[list[Call], list[Event]]:
    """The calls of a sample that is answered with these texts, and its events."""
    asks, calls = one.asks(sample, rng or random.Random(0)), []
    calls.append(next(asks))
    for text in texts:
        try:
            calls.append(asks.send(text))
        except StopIteration as end:
            return calls, end.value
    raise AssertionError("it asks for more")


def sample(ideal, given="Hello"):
    return {"input": given, "ideal": ideal}


@pytest.mark.parametrize(
    ("text", "ideal", "picked"),
    [
        ("world", "world", "world"),
        ("world peace", ["foo", "world"], "world"),
        ("world peace", ["wor", "world"], "wor"),
        (" world", "world", None),
        ("wor", "world", None),
        ("World", "world", None),
    ],
)
def test_match_takes_an_answer_that_begins_with_an_ideal_one(text, ideal, picked):
    (call,), (event,) = asked(made("Match", samples_jsonl=""), sample(ideal), text)
    assert (call.prompt, call.arguments) == ("Hello", {"temperature": 0.0})
    options = ideal if isinstance(ideal, list) else [ideal]
    assert event == Event(
        "match",
        {
            "correct": picked is not None,
            "expected": ideal,
            "picked": picked,
            "sampled": text,
            "options": options,
        },
    )


def test_few_shots_stand_before_the_last_message(root):
    one = made(
        "Match",
        root,
        samples_jsonl="chats.jsonl",
        num_few_shot=2,
        few_shot_jsonl="shots.jsonl",
    )
    (call,), _ = asked(one, one.samples()[3], "x")
    assert [message["content"] for message in call.prompt] == [
        "Say {x} number 3.",
        *("fox", "fox!", "jar", "jar!"),
        "a {brace}",
    ]
    with pytest.raises(ValueError, match="got a text as 'input', expected messages with few"):
        asked(one, sample("x"), "x")


@pytest.mark.parametrize(
    ("text", "ideal", "correct", "ignore_case"),
    [
        ("world", "world", True, False),
        ("world", "wOrLd", True, True),
        ("world", "wOrLd", False, False),
        ("the world is", ["foo", "world"], True, False),
        ("world", ["worldfoo", "worldbar"], False, False),
    ],
)
def test_includes_sends_no_temperature(text, ideal, correct, ignore_case):
    one = made("Includes", samples_jsonl="", ignore_case=ignore_case)
    (call,), (event,) = asked(one, sample(ideal), text)
    assert call.arguments == {}
    assert event.data["correct"] is correct and event.data["picked"] == text


@pytest.mark.parametrize(
    ("text", "ideal", "accuracy", "f1"),
    [
        ("world", "world", 1.0, 1.0),
        ("world", "foo", 0.0, 0),
        ("world", ["some foo world", "dummy"], 1.0, 0.5),
        ("The World!", "a world", 1.0, 1.0),
        ("", "world", 0.0, 0),
        ("the", "an", 1.0, 0),
        ("red fox", "fox jar sun", 0.0, 0.4),
    ],
)
def test_fuzzy_match_leaves_out_what_is_small(text, ideal, accuracy, f1):
    (call,), events = asked(made("FuzzyMatch", samples_jsonl=""), sample(ideal), text)
    assert call.arguments == {"temperature": 0.0, "max_tokens": 100}
    assert [event.type for event in events] == ["match", "metrics"]
    assert events[0].data["correct"] is bool(accuracy)
    assert events[1].data == {"accuracy": accuracy, "f1_score": pytest.approx(f1)}


@pytest.mark.parametrize(
    ("text", "ideal", "right"),
    [
        ('{\n   "key":"value"\n   }\n', '{ "key": "value" }', True),
        ('{ "key2": "foo", "key1": "bar" }', '{ "key1": "bar", "key2": "foo" }', True),
        ('{ "key": "value" }', '{ "key": "notvalue" }', False),
        ('{ "key": 100 }', ['{ "key": 100.1 }', '{ "key": 100 }'], True),
        ('{ "key": 100 }', ['{ "key": 100.1 }', '{ "key": 99.9 }'], False),
        ('{ "key": "value" }', '{ "key": "value", "anotherkey": "value" }', False),
        ('{ "key": "value", "anotherkey": "value" }', '{ "key": "value" }', False),
        ('{ "key": [1.0,2.0,3.0] }', '{ "key": [1, 2, 3] }', True),
        ('{ "key": [1, 2, 3] }', '{ "key": [1, 2, 3, 3] }', False),
        ('{ "key": [1, 2, 3] }', '{ "key": [1, 3, 2] }', False),
        ('{ "key": [] }', '{ "key": [1] }', False),
        ('{ "key": "value }', '{ "key": "value" }', False),
        ("null", "null", False),
        ('{"a": null}', '{"a": null}', False),
        ('{"a": null}', "{}", False),
        ("[]", "[]", True),
    ],
)
def test_json_match_compares_part_by_part(text, ideal, right):
    (call,), events = asked(made("JsonMatch", samples_jsonl=""), sample(ideal), text)
    assert call.arguments == {"temperature": 0.0, "max_tokens": 512}
    assert events[-1] == Event("metrics", {"accuracy": float(right)})
    assert events[0].data["correct"] is right
    assert (text in events[0].data["picked"]) is right


@pytest.mark.parametrize(("text", "right"), [('{"a": 1}', True), ("3", True), ("{a: 1}", False)])
def test_json_validator_takes_any_json(text, right):
    _, (event,) = asked(made("JsonValidator", samples_jsonl=""), {"input": "Hello"}, text)
    assert event.data == {"correct": right, "expected": None, "picked": text}


def test_multiple_choice_shuffles_the_options_with_the_samples_draws(root):
    one = made("MultipleChoice", root, dataset="hf://hendrycks_test?name=sums&split=validation")
    question = one.samples()[2]
    assert (question.question, question.answers) == ("2 + 1, or 2?", ["2", "3", "4", "5"])
    for seed in range(20):
        order = [0, 1, 2, 3]
        random.Random(seed).shuffle(order)
        (call,), (event,) = asked(one, question, "B) 3", rng=random.Random(seed))
        lines = "\n".join(f"{'ABCD'[i]}) {question.answers[order[i]]}" for i in range(4))
        assert call.prompt == (
            f"\nPlease answer with the letter of the correct answer.\n\n2 + 1, or 2?\n{lines}"
        )
        assert call.arguments == {"temperature": 0.0, "max_tokens": 1}
        assert event.data["correct"] is (order[1] == 1)


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ('{"ctx": "He", "endings": ["ran", "sat"], "label": "1"}', 1),
        ('{"query": "He", "choices": ["ran", "sat"], "gold": 0}', 0),
    ],
)
def test_hellaswag_is_read_in_both_forms(tmp_path, row, label):
    (tmp_path / "h.jsonl").write_text(row + "\n")
    context = Context(Registry([]), tmp_path, datasets={"hellaswag": str(tmp_path / "h.jsonl")})
    args = {"dataset": "hf://hellaswag?split=validation"}
    (question,) = make("a.b", NAMES["MultipleChoice"], context, args).samples()
    assert (question.question, question.answers) == ("He", ["ran", "sat"])
    assert question.label == label


def test_lambada_asks_for_the_last_word():
    one = made("Lambada", subset="en")
    (call,), (event,) = asked(one, {"text": "He  saw the\nfox"}, "foxes")
    assert call.prompt == (
        "Please answer with the word which is most likely to follow:\n\nHe saw the"
    )
    assert call.arguments == {"temperature": 0.0, "max_tokens": 8}
    assert event.data["correct"] is True


def test_mmlu_strips_the_answer():
    one = made("MMLU", samples_jsonl="")
    (call,), (event,) = asked(one, {"question": "1 + 1?", "answer": "B"}, "\n B")
    assert [message["role"] for message in call.prompt] == ["system", "user"]
    assert event.data["correct"] is True and event.data["sampled"] == "B"
    report = one.report({"metrics": [event.data, {"correct": False}] * 5})
    assert report["accuracy"] == 0.5 and report["bootstrap_std_target"] > 0


def test_translate_has_sentence_and_corpus_scores():
    sacrebleu = pytest.importorskip("sacrebleu")
    one = made("Translate", samples_jsonl="")
    ideals = ["the red fox sat down here", ["a sun", "the sun rose over the old hill"]]
    texts = ["the red fox sat down there", "the sun rose over the old hill"]
    found = collections.defaultdict(list)
    for ideal, text in zip(ideals, texts, strict=True):
        (call,), events = asked(one, sample(ideal), text)
        assert call.arguments == {"max_tokens": 500}
        references = ideal if isinstance(ideal, list) else [ideal]
        score = sacrebleu.sentence_bleu(text, references).score
        assert events[0].data["sacrebleu_sentence_score"] == pytest.approx(score)
        for event in events:
            found[event.type].append(event.data)
    assert one.report(found) == {
        "accuracy": 1.0,
        "sacrebleu_score": sacrebleu.corpus_bleu(
            texts, [["the red fox sat down here", "a sun"], [None, ideals[1][1]]]
        ).score,
    }


def test_the_deviation_is_that_of_halves_drawn_in_a_loop():
    rows = [{"correct": i % 3 == 0} for i in range(60)]
    values = [row["correct"] for row in rows]
    drawn = random.Random(1)
    means = [np.mean(drawn.sample(values, 30)) for _ in range(20_000)]
    assert bootstrap_std(rows, seed=4) == pytest.approx(np.std(means), rel=0.1)
    assert bootstrap_std(rows, seed=4) == bootstrap_std(rows, seed=4) != bootstrap_std(rows, 5)
    assert math.isnan(bootstrap_std(rows[:1], 4)) and bootstrap_std(rows[:2], 4) > 0


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("Match", {"ideal": "x"}, "got ideal, expected 'input' too"),
        ("Match", {"input": "x"}, "got input, expected 'ideal' too"),
        ("Match", "text", "got 'text', expected an object with 'ideal'"),
        ("Includes", sample(3), "got '3' as 'ideal', expected text or texts"),
        ("FuzzyMatch", sample([]), "got '[]' as 'ideal', expected text or texts"),
        ("JsonMatch", sample("{"), "got '{' as 'ideal', expected JSON"),
        ("JsonValidator", {"input": 4}, "'input': got int, expected text or a list of messages"),
        ("MMLU", {"question": "x"}, "got question, expected 'answer' too"),
    ],
)
def test_a_wrong_sample_is_refused(name, row, said):
    with pytest.raises(ValueError) as refused:
        asked(made(name, samples_jsonl=""), row, "x")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("Match", {}, "eval 'Match.dev': got no 'samples_jsonl', expected a value"),
        ("Match", {"samples": "x"}, "got the argument 'samples', expected one of: samples_jsonl,"),
        ("Match", {"samples_jsonl": "", "num_few_shot": 1}, "few_shot_jsonl: got none with num"),
        ("ModelBasedClassify", {"samples_jsonl": ""}, "got no 'modelgraded_spec', expected a"),
    ],
)
def test_wrong_arguments_are_refused(name, args, said):
    with pytest.raises(ValueError) as refused:
        made(name, **args)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("hf://squad?split=validation", "unknown data set 'squad'"),
        ("file.jsonl", "expected hf://NAME"),
        ("hf://hendrycks_test?name=sums&split=odd", "unknown split 'odd'"),
        ("hf://hellaswag?split=validation", "expected one as --datasets=hellaswag=PATH"),
    ],
)
def test_a_data_set_that_is_not_here_is_refused(root, dataset, said):
    with pytest.raises(ValueError) as refused:
        made("MultipleChoice", root, dataset=dataset).samples()
    assert said in str(refused.value)


def test_several_functions_are_for_graded_evals_only():
    context = Context(Registry([]), Path("."), functions=2)
    with pytest.raises(ValueError, match="got 2 completion functions, expected one; only Model"):
        make("a.b", NAMES["Match"], context, {"samples_jsonl": ""})


def test_test_match_has_samples_of_its_own():
    """Those of the original's class, answered as people would."""
    one = made("TestMatch")
    right = {"Once upon a ": "time", "The first US president was ": "George Washington"}
    right["OpenAI was founded in 20"] = "15"
    for row in one.samples():
        text = right[row["input"][1]["content"]]
        _, (event,) = asked(one, row, text)
        assert event.data["correct"] is True
    assert len(one.samples()) == 3
