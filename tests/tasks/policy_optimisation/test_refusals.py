"""What a run of PPO refuses, before it starts or when its policy is lost."""

import dataclasses
import re

import numpy as np
import pytest

from gptjax.runs.workdir import InitialCheckpoint, WorkDirectory
from gptjax.tasks.policy_optimisation.environment import PolicyEnvironment
from gptjax.tasks.reward_modelling import RewardModelConfig
from gptjax.training.reporting.metrics import read_metrics
from tests.support.alignment_runs import make_config, run
from tests.support.policy_runs import HERE, make_ppo, make_starts, run_policy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _cache(cache):
    return cache


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    return make_starts(tmp_path_factory.mktemp("starts"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ppo__prompts": None}, r"config\.ppo\.prompts: got none, expected jsonl:PATH with rows"),
        ({"ppo__rewards": None}, r"config\.ppo\.rewards: got none, expected judges such as rewar"),
        ({"checkpoint__init_from": None}, r"init_from: got none for a new run of kind ppo"),
        (
            {"ppo__max_prompt_tokens": 2, "ppo__samples": None},
            r"instructions:count=40': got none of 40 \(40 prompts longer than 2 tokens\) rows, exp",
        ),
        ({"ppo__max_answer_tokens": 30}, r"max_answer_tokens: got 30, expected at most 22: conte"),
        ({"ppo__minibatches": 3}, r"config\.ppo\.minibatches: got 3, expected a divisor of tra"),
        ({"ppo__advantages": "grpo"}, r"answers_per_prompt: got 1 with advantages=grpo, expected"),
        (
            {"parallelism__strategy": "pmap"},
            r"parallelism\.strategy: got pmap, expected single or mesh for the kind of run ppo",
        ),
        (
            {"parallelism__strategy": "mesh"},
            r"config\.ppo\.minibatches: got 2, 4 answers each, expected minibatches that divide ov",
        ),
        ({"training__skip_grad_norm": 10.0}, r"skip_grad_norm: got 10\.0, expected none for the k"),
        (
            {"profile__num_steps": 3},
            r"profile\.num_steps: got 3, expected 0 for the kind of run ppo",
        ),
        ({"ppo__value_from": "nowhere"}, r"--workdir: no run in nowhere"),
        (
            {"ppo__rewards": f"python:{HERE}:failing"},
            r"reward 'failing', row 0 \(prompt .*\): got KeyError: .*, expected a number",
        ),
        (
            {"ppo__rewards": f"gold + python:{HERE}:not_a_number"},
            r"reward 'not_a_number', row 0 \(prompt .*\): got nan, expected a finite number",
        ),
    ],
)
def test_bad_input_is_one_line(starts, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        run_policy(tmp_path / "run", make_ppo(starts, **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_models_of_another_tokenizer_or_kind_are_refused(starts, tmp_path):
    sft, _ = starts
    other = {"data__tokenizer": "chat:bytes", "model__vocab_size": 261}
    with pytest.raises(ValueError, match=r"reward model: got .*reward of the tokenizer \w{12}, ex"):
        run_policy(tmp_path / "run", make_ppo(starts, **other))
    with pytest.raises(ValueError, match=r"init_from: got .*sft of the tokenizer \w{12}, expected"):
        run_policy(tmp_path / "run", make_ppo(starts, **other, ppo__rewards="gold"))
    with pytest.raises(ValueError, match=r"kind sft, .*expected one of a reward m"):
        run_policy(tmp_path / "run", make_ppo(starts, ppo__value_from=str(sft.path)))
    short = make_config(
        RewardModelConfig,
        training__num_steps=1,
        model__context_length=32,
        reward__max_prompt_tokens=16,
        reward__max_answer_tokens=16,
    )
    short = run(tmp_path / "short", short)
    for changes in (
        {"ppo__rewards": f"reward_model:{short.path}"},
        {"ppo__rewards": "gold", "ppo__value_from": str(short.path)},
    ):
        with pytest.raises(ValueError, match=r"model of context_length = 32, expected at least 38"):
            run_policy(tmp_path / "run", make_ppo(starts, **changes))
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_another_reward_is_another_run(starts, tmp_path):
    workdir = WorkDirectory(str(tmp_path / "run"))
    workdir.begin("tiny", make_ppo(starts), {}, InitialCheckpoint)
    (workdir.path / "metrics.jsonl").touch()
    with pytest.raises(ValueError, match=r"holds another run.*ppo\.rewards: 'gold', not 'reward_"):
        run_policy(workdir.path, make_ppo(starts, ppo__rewards="gold"))


class Silent(PolicyEnvironment):
    """From the fourth iteration on all answers are ends of turns."""

    def _draw(self, params, iteration):
        made = super()._draw(params, iteration)
        if iteration < 3:
            return made
        answers = np.full_like(made.answers, self._template.tokenizer.padding)
        answers[:, 0] = self._template.tokenizer.end_of_turn
        ones, ended = np.ones_like(made.answer_lengths), np.ones_like(made.finished)
        return dataclasses.replace(made, answers=answers, answer_lengths=ones, finished=ended)


@pytest.mark.parametrize(
    ("changes", "environment", "message"),
    [
        (
            {"stop__max_kl": 1e-4, "checkpoint__every_steps": 1},
            None,
            r"iteration 2: kl is .*, expected at most 0\.0001 nats an answer: .*; no checkpoint be",
        ),
        (
            {"stop__min_entropy": 50.0},
            None,
            r"iteration 1: entropy is .*, expected at least 50\.0 nats a token: .*; no checkpoint",
        ),
        (
            {"stop__max_empty": 0.9},
            Silent,
            r"iteration 4: empty is 1, expected at most 0\.9 of the answers: .*; last good .*: 2",
        ),
    ],
)
def test_a_lost_policy_ends_the_run(starts, tmp_path, changes, environment, message):
    with pytest.raises(ValueError, match=message) as error:
        run_policy(tmp_path / "run", make_ppo(starts, **changes), environment=environment)
    assert "\n" not in str(error.value)
    stopped = int(re.findall(r"iteration (\d)", str(error.value))[0])
    rows = read_metrics(tmp_path / "run/metrics.jsonl") if stopped > 1 else []
    assert [row["step"] for row in rows] == list(range(1, stopped))
