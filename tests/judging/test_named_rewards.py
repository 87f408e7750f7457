"""Rewards by name against what they name, text by text."""

import json
import shutil

import jax
import numpy as np
import pytest

from gptjax.alignment.rewards import composed
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.dialogue.instructions import gold_reward
from gptjax.judging.named_rewards import load_rewards, rewards_hash
from gptjax.judging.reward_models import load_reward_model
from gptjax.tokenization import load_tokenizer
from tests.support.alignment_runs import ANSWERED

TOKENIZER = "chat:instructions_448"
PROMPTS = [(Message("user", text),) for text in ANSWERED]
RESPONSES = list(ANSWERED.values())
MINE = """
from gptjax.alignment.rewards import RuleBased

seen = []

def brevity(prompt, response):
    seen.append(prompt)
    return -len(response)

rule = RuleBased("Empty?", lambda *texts: "no" if texts[-1] else "yes", {"no": 0.0, "yes": -1.0})
number = 3
"""


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TOKENIZER)


@pytest.fixture(scope="module")
def reward_run(trained):
    return trained("reward_model")


@pytest.fixture(scope="module")
def reward_of(reward_run):
    """A function from a prompt and a response to what the model gives to this text alone."""
    model, params = load_reward_model(reward_run, reward_run.tokenizer())
    template, apply = ChatTemplate(reward_run.tokenizer()), jax.jit(model.apply)

    def reward(prompt, response):
        ids, _ = template.render((*prompt, Message("assistant", response)))
        padded = np.zeros((1, 48), np.int32)
        padded[0, : len(ids)] = ids
        return float(apply({"params": params}, padded, np.array([len(ids)]))[0])

    return reward


def test_the_hash_of_rewards_is_that_of_the_parameters_that_score(reward_run, tokenizer, tmp_path):
    def of(spec):
        return rewards_hash(load_rewards(spec, tokenizer))

    spec = f"reward_model:{reward_run.path}"
    moved = shutil.copytree(reward_run.path, tmp_path / "moved")
    assert of(spec) == of(f"0.5*reward_model:{moved}") != of("gold")
    shutil.rmtree(moved / "checkpoints/8")
    result = reward_run.result() | {"step": 4}
    (moved / "result.json").write_text(json.dumps(result))
    assert of(f"reward_model:{moved}") != of(spec)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of a user's own; its name is new in each test."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MINE)
    (tmp_path / f"bad_{name}.py").write_text("import json\nprint(1 / 0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.mark.parametrize("width", [None, pytest.param(48, marks=pytest.mark.slow), 8])
def test_a_reward_model_gives_what_it_gives_to_single_texts(
    reward_run, reward_of, tokenizer, width
):
    (reward,) = load_rewards(f"reward_model:{reward_run.path}", tokenizer, width=width)
    expected = list(map(reward_of, PROMPTS, RESPONSES))
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(reward.scores(PROMPTS, RESPONSES), expected, rtol=1e-4, atol=1e-5)
    many = reward.scores(PROMPTS * 33, RESPONSES * 33)
    np.testing.assert_allclose(many, expected * 33, rtol=1e-4, atol=1e-5)
    talk = (*PROMPTS[0], Message("assistant", "fox"), Message("user", "and?"))
    np.testing.assert_allclose(reward.scores([talk], ["jar"]), [reward_of(talk, "jar")], rtol=1e-4)


def test_of_an_answer_that_does_not_fit_the_end_is_not_read(reward_run, tokenizer):
    (reward,) = load_rewards(f"reward_model:{reward_run.path}", tokenizer)
    long = "fox " * 60
    scores = reward.scores([PROMPTS[0]] * 2, [long, long + "jar"])
    assert np.isfinite(scores).all() and scores[0] == scores[1]
    with pytest.raises(ValueError, match="expected fewer than 48, the reward model's context"):
        reward.scores([(Message("user", long),)], ["fox"])


def test_terms_are_weighted_and_added_up(reward_run, reward_of, tokenizer, mine):
    rewards = load_rewards(
        f"gold + 0.5*reward_model:{reward_run.path} + -1e-1*python:{mine}:brevity + 2 * gold"
        f" + python:{mine}:rule",
        tokenizer,
    )
    total, parts = composed(rewards, PROMPTS, RESPONSES)
    gold = np.array([gold_reward(prompt, response) for prompt, response in ANSWERED.items()])
    brevity = np.array([-len(response) for response in RESPONSES])
    rule = np.array([0.0 if response else -1.0 for response in RESPONSES])
    model = np.array(list(map(reward_of, PROMPTS, RESPONSES)))
    assert list(parts) == ["gold", "reward_model", "brevity", "gold_2", "rule"]
    np.testing.assert_allclose(total, 3 * gold + 0.5 * model - 0.1 * brevity + rule, rtol=1e-4)
    np.testing.assert_allclose(parts["brevity"], brevity)


def test_functions_are_given_text(tokenizer, mine):
    (reward,) = load_rewards(f"python:{mine}:brevity", tokenizer)
    talk = (*PROMPTS[0], Message("assistant", "fox"), Message("user", "and?"))
    reward.scores([PROMPTS[1], talk], ["", ""])
    seen = __import__(mine).seen
    assert seen == ["add: 7 5", "user: copy: fox jar\n\nassistant: fox\n\nuser: and?"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("golds", "unknown reward 'golds' (did you mean 'gold'?); expected one of: reward_model, "),
        ("gold+gold", "unknown reward 'gold+gold'"),
        ("gold + runs/x", "unknown reward 'runs/x' (did you mean 'reward_model:runs/x'?)"),
        ("0.5*kind.json", "unknown reward 'kind.json' (did you mean 'rubric:kind.json'?)"),
        ("", "unknown reward ''"),
        ("gold:here", "reward 'gold': got the location 'here', expected none"),
        ("half*gold", "reward 'half*gold': got weight 'half', expected a finite number"),
        ("gold + nan*gold", "got weight 'nan', expected a finite number"),
        ("reward_model", "reward 'reward_model': got no location, expected reward_model:WORKDIR"),
        ("reward_model:nowhere", "reward_model:nowhere: no run in nowhere"),
        ("python:{mine}", "expected python:MODULE:FUNCTION"),
        ("python:no_such:f", "got ModuleNotFoundError: No module named 'no_such', expected a mod"),
        ("python:bad_{mine}:f", "got ZeroDivisionError: division by zero, expected a module that"),
        ("python:{mine}:number", "got 'number', which is no function of mine_"),
        ("python:{mine}:missing", "got 'missing', which is no function of mine_"),
    ],
)
def test_what_is_no_reward_is_one_line(tokenizer, mine, spec, message):
    with pytest.raises(ValueError) as error:
        load_rewards(spec.format(mine=mine), tokenizer)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_reward_model_of_another_tokenizer_or_of_no_rewards_is_refused(trained, reward_run):
    with pytest.raises(ValueError, match=r"reward model: got .* of the tokenizer \w{12}, expected"):
        load_rewards(f"reward_model:{reward_run.path}", load_tokenizer("chat:bytes"))
    chats = trained("sft")
    with pytest.raises(
        ValueError,
        match=r"got .*, a run of kind sft, which makes a language model, expected a run",
    ):
        load_rewards(f"reward_model:{chats.path}", chats.tokenizer())


def test_gold_refuses_a_prompt_of_no_task_by_its_row(tokenizer):
    rewards = load_rewards("gold", tokenizer)
    prompts = [PROMPTS[0], (Message("user", "Hello there"),)]
    with pytest.raises(ValueError, match=r"reward 'gold', row 1 \(prompt 'Hello there'\): got Val"):
        composed(rewards, prompts, ["fox jar", "Hi"])
