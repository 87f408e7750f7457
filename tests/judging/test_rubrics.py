"""A rubric's reward against a loop that applies the classifier to one text and class at a time."""

import functools
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from gptjax.alignment.rewards import BatchReward, BatchRuleBased, composed
from gptjax.config import ExperimentConfig
from gptjax.data.dialogue.chat_format import Message, plain_text
from gptjax.data.dialogue.instructions import gold_reward
from gptjax.judging.named_rewards import load_rewards, rewards_hash
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from gptjax.tokenization import load_tokenizer
from tests.support.alignment_runs import ANSWERED, make_config

RUBRIC = "is it right? fox, jar or fox jar"
SCORES = {"fox": 1.0, "jar": -0.5, "fox jar": 3, "sorry": 0.25}
CONTEXT = 96
TEXTS = ANSWERED | {"reverse: jar fox sun": "sun fox jar", "copy: jar jar jar": "jar"}
PROMPTS = [(Message("user", text),) for text in TEXTS]
RESPONSES = list(TEXTS.values())
TALK = (*PROMPTS[0], Message("assistant", "fox"), Message("user", "and?"))
ASKED, SAID = zip(*itertools.product([*PROMPTS, TALK], RESPONSES), strict=True)  # 42 rows


@pytest.fixture(scope="module")
def policy_tokenizer():
    """Of the policy; the classifier has another."""
    return load_tokenizer("chat:bytes")


def begun(path, config):
    """The directory of a run that has not made a step."""
    workdir, tokenizer = WorkDirectory(str(path)), load_tokenizer(config.data.tokenizer)
    workdir.begin("tiny", config, {"tokenizer_hash": tokenizer.content_hash()})
    workdir.keep_tokenizer(tokenizer)
    return workdir


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A run whose parameters are random, and so large that one class or another is clear.

    Those of its two checkpoints differ.
    """
    config = make_config(SFTConfig, model__context_length=CONTEXT, model__init_std=0.5)
    workdir = begun(tmp_path_factory.mktemp("runs") / "classifier", config)
    init = jax.jit(lambda key: kind_of(config).init(config, key))
    with workdir.checkpoints() as checkpoints:
        for step in (1, 2):
            params = init(jax.random.key(step))
            checkpoints.save(step, params=params, opt_state=[params], data={}, config={})
    return workdir


@pytest.fixture
def write(classifier, tmp_path):
    """Returns a function from what differs to the specification of a reward."""

    def write(name="right.json", **changed):
        fields = {"rubric": RUBRIC, "scores": SCORES, "model": str(classifier.path)} | changed
        kept = {name: value for name, value in fields.items() if value is not None}
        (tmp_path / name).write_text(json.dumps(kept))
        return f"rubric:{tmp_path / name}"

    return write


@functools.cache
def judging(path):
    """The model of a run, its tokenizer, its parameters, and what applies them."""
    workdir = WorkDirectory(str(path))
    model = workdir.model()
    params = workdir.params(workdir.resolve_step(None))
    return model, workdir.tokenizer(), params, jax.jit(model.apply)


def one_by_one(workdir, texts):
    """Of each text the log-probabilities of the classes, [N, 4] float64 nats."""
    model, tokenizer, params, apply = judging(workdir.path)
    user, assistant, end = (
        tokenizer.role("user"),
        tokenizer.role("assistant"),
        tokenizer.end_of_turn,
    )
    found = np.zeros((len(texts), len(SCORES)))
    for row, text in enumerate(texts):
        asked = [user, *tokenizer.encode(text), end, assistant]
        for column, name in enumerate(SCORES):
            tokens = [*asked, *tokenizer.encode(name), end]
            padded = np.zeros((1, CONTEXT), np.int32)  # after all that is read: it is causal
            padded[0, : len(tokens) - 1] = tokens[:-1]
            logits = np.asarray(apply({"params": params}, padded)[0], np.float64)
            logits = logits[:, : model.config.vocab_size]
            for i in range(len(asked), len(tokens)):
                of_next = logits[i - 1] - logits[i - 1].max()
                found[row, column] += of_next[tokens[i]] - np.log(np.exp(of_next).sum())
    return found


def earned(workdir, texts):
    """What the most probable classes are worth, and in which rows rounding could not decide."""
    log_probs = one_by_one(workdir, texts)
    second, first = np.sort(log_probs, axis=1)[:, -2:].T
    worth, clear = np.array(list(SCORES.values()))[log_probs.argmax(axis=1)], first - second > 1e-3
    assert clear.mean() > 0.5 and len(set(worth[clear])) > 1
    return worth, clear


def questions(prompts, responses):
    return [
        f"{RUBRIC}\n\nPrompt: {plain_text(prompt)}\n\nAnswer: {response}"
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def test_the_class_is_the_most_probable_reply(classifier, write, policy_tokenizer):
    expected, clear = earned(classifier, questions(ASKED, SAID))
    (reward,) = load_rewards(write(), policy_tokenizer)
    assert reward.name == "right" and reward.scores([], []).shape == (0,)
    np.testing.assert_array_equal(reward.scores(ASKED, SAID)[clear], expected[clear])
    for row in np.flatnonzero(clear)[:3]:
        assert reward.scores([ASKED[row]], [SAID[row]]) == expected[row]


def test_a_rubric_on_answers_alone_does_not_read_the_prompt(classifier, write, policy_tokenizer):
    (reward,) = load_rewards(write(reads_prompt=False), policy_tokenizer)
    expected, clear = earned(classifier, [f"{RUBRIC}\n\nAnswer: {text}" for text in RESPONSES])
    for prompts in (PROMPTS, PROMPTS[::-1], [(Message("user", "fox " * 999),)] * len(RESPONSES)):
        np.testing.assert_array_equal(reward.scores(prompts, RESPONSES)[clear], expected[clear])
    with_prompts, _ = earned(classifier, questions(ASKED, SAID))
    assert (np.tile(expected, 7) != with_prompts).any()


def test_rubrics_are_weighted_and_added_up(classifier, write, policy_tokenizer):
    alone = write("alone.json", reads_prompt=False)
    spec = f"-2*{write()} + 0*gold + 0.5*{alone} + 0*{alone}"
    total, parts = composed(load_rewards(spec, policy_tokenizer), PROMPTS, RESPONSES)
    assert list(parts) == ["right", "gold", "alone", "alone_2"]
    expected, clear = earned(classifier, questions(PROMPTS, RESPONSES))
    np.testing.assert_array_equal(parts["right"][clear], expected[clear])
    gold = [gold_reward(prompt, response) for prompt, response in TEXTS.items()]
    np.testing.assert_array_equal(parts["gold"], np.float32(gold))
    np.testing.assert_array_equal(total, -2 * parts["right"] + 0.5 * parts["alone"])


def test_the_hash_is_that_of_the_rubric_and_of_the_parameters(
    classifier, write, policy_tokenizer, tmp_path
):
    def of(**changed):
        return rewards_hash(load_rewards(write(**changed), policy_tokenizer))

    moved = WorkDirectory(str(shutil.copytree(classifier.path, tmp_path / "moved")))
    assert of() == of(model=str(moved.path)) == of(reads_prompt=True)
    shutil.rmtree(moved.path / "checkpoints" / str(moved.resolve_step(None)))
    others = [
        of(model=str(moved.path)),
        of(rubric=RUBRIC + "?"),
        of(scores=SCORES | {"jar": -0.4}),
        of(reads_prompt=False),
    ]
    assert len({of(), *others}) == 5


def test_a_question_that_does_not_fit_is_named_by_its_row(classifier, write, policy_tokenizer):
    tokenizer = classifier.tokenizer()
    room = CONTEXT + 1 - max(len(tokenizer.encode(name)) + 1 for name in SCORES)

    def size(count):
        return len(tokenizer.encode(*questions([PROMPTS[0]], [" fox" * count]))) + 3

    count = next(count for count in range(CONTEXT) if size(count + 1) > room)
    (reward,) = load_rewards(write(), policy_tokenizer)
    assert reward.scores(PROMPTS[:1], [" fox" * count])[0] in SCORES.values()
    with pytest.raises(ValueError) as error:
        reward.scores([PROMPTS[0]] * 2, ["fox", " fox" * (count + 1)])
    assert str(error.value) == (
        f"reward 'right', of 2 rows: got ValueError: row 1: got a question of {size(count + 1)} "
        f"tokens, expected at most {room} before a class, of the classifier's context of "
        f"{CONTEXT}, expected a number"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rubric": None}, "right.json: row: got fields scores, model, expected a field 'rubric'"),
        ({"scores": None}, "expected a field 'scores'"),
        ({"model": None}, "expected a field 'model'"),
        (
            {"read_prompt": True},
            "unknown field in {}: 'read_prompt' (did you mean 'reads_pr",
        ),
        ({"rubric": 3}, "right.json: 'rubric': got int, expected a string"),
        ({"reads_prompt": "no"}, "'reads_prompt': got 'no', expected true or false"),
        ({"scores": {}}, "'scores': got {{}}, expected an object with a number for each class"),
        ({"scores": [1.0]}, "'scores': got [1.0], expected an object with a number"),
        ({"scores": {"A": "1"}}, "'scores': class 'A': got '1', expected a finite number"),
        ({"scores": {"A": True}}, "'scores': class 'A': got True, expected a finite number"),
        ({"scores": {"A": float("nan")}}, "'scores': class 'A': got nan, expected a finite"),
        ({"scores": {"A": 0, "B": 10**400}}, "'scores': class 'B': got 1000"),
        ({"scores": {"\ud800": 1}}, "class '\\ud800': got the lone surrogate U+D800, expected va"),
        ({"model": "nowhere"}, "right.json: 'model': no run in nowhere"),
    ],
)
def test_what_is_no_rubric_is_one_line(write, policy_tokenizer, tmp_path, changed, message):
    with pytest.raises(ValueError) as error:
        load_rewards(write(**changed), policy_tokenizer)
    expected = message.format(tmp_path / "right.json")
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_a_model_judges_by_kind_too(classifier, write, policy_tokenizer, tmp_path):
    (tmp_path / "first.jsonl").write_text(json.dumps({"prompt": plain_text(PROMPTS[0])}))
    (tmp_path / "next.jsonl").write_text(json.dumps({"prompt": plain_text(PROMPTS[1])}))
    kinds = {"a": f"jsonl:{tmp_path}/first.jsonl", "b": f"jsonl:{tmp_path}/next.jsonl"}
    worth = {"a": SCORES, "b": {name: 10 * score for name, score in SCORES.items()}}
    (reward,) = load_rewards(write(prompts=kinds, scores=worth), policy_tokenizer)
    rows = [(PROMPTS[i], text) for i in (0, 1, 2) for text in RESPONSES]
    prompts, responses = zip(*rows, strict=True)
    expected, clear = earned(classifier, questions(prompts, responses))
    factor = np.repeat([1, 10, 0], len(RESPONSES))
    np.testing.assert_array_equal(
        reward.scores(prompts, responses)[clear], (expected * factor)[clear]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{'rubric': 1}", "bad.json: not JSON (Expecting property name enclosed in double quo"),
        (b"\xff", "bad.json: not JSON ('utf-8' codec can't decode byte 0xff in position 0"),
        (b"[]", "bad.json: got a JSON list, expected an object"),
        (None, "bad.json: No such file or directory; expected a readable file"),
    ],
)
def test_what_is_no_json_object_is_one_line(policy_tokenizer, tmp_path, content, message):
    if content is not None:
        (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_rewards(f"rubric:{tmp_path / 'bad.json'}", policy_tokenizer)
    assert message in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"^reward 'rubric': got no location, expected"):
        load_rewards("rubric", policy_tokenizer)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ExperimentConfig, "expected one with the tokens of a chat"),
        (RewardModelConfig, "which holds a reward model, expected a run"),
        (SFTConfig, "has no checkpoint yet"),
    ],
)
def test_a_model_that_cannot_judge_is_refused(write, policy_tokenizer, tmp_path, kind, message):
    workdir = begun(tmp_path / "run", make_config(kind))
    with pytest.raises(ValueError) as error:
        load_rewards(write(model=str(workdir.path)), policy_tokenizer)
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 'right.json'}: 'model': ") and message in said


def test_a_batched_classifier_is_asked_once():
    calls = []

    def classify(rubric, prompts, responses):
        calls.append((rubric, prompts))
        return ["B" if response else "A" for response in responses]

    scores = {"A": 1, "B": -0.5}
    for reads_prompt in (True, False):
        rule = BatchRuleBased("Empty?", classify, scores, reads_prompt)
        total, _ = composed([BatchReward("rule", rule)], ["p", "q"], ["", "x"])
        assert total.tolist() == [1.0, -0.5]
    assert calls == [("Empty?", ["p", "q"]), ("Empty?", None)]
    unknown = BatchRuleBased("?", classify, {"A": 1})
    with pytest.raises(ValueError, match="got ValueError: class 'B', not one of: A, expected"):
        BatchReward("rule", unknown).scores(["p", "q"], ["", "x"])
