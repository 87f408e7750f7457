"""What a run of PPO refuses, before it starts or when its policy is lost."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from gptjax.alignment.model_reward import ModelReward
from gptjax.alignment.reward_model import RewardModel
from gptjax.alignment.rewards import BatchReward
from gptjax.tasks.policy_optimisation import kind as policy_optimisation
from gptjax.tasks.policy_optimisation.environment import PolicyEnvironment
from gptjax.training.reporting.metrics import read_metrics
from tests.support.alignment_runs import refusal
from tests.support.binaries import call
from tests.support.policy_runs import HERE, relative, run_policy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ppo__rewards": None}, r"config\.ppo\.rewards: got none, expected rewards such as rewar"),
        ({"checkpoint__init_from": None}, r"init_from: got none for a new run of kind ppo"),
        (
            {"ppo__max_prompt_tokens": 2, "ppo__samples": None, "ppo__rewards": "gold"},
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
        (
            {"model__attention": "prefix(length=30)"},
            r"attention prefix.length=30.: got \d+ tokens at once, to be continued one by one",
        ),
        ({"training__skip_grad_norm": 10.0}, r"skip_grad_norm: got 10\.0, expected none for the k"),
        (
            {"profile__num_steps": 3},
            r"profile\.num_steps: got 3, expected 0 for the kind of run ppo",
        ),
        ({"ppo__value_from": "nowhere"}, r"config\.ppo\.value_from: no run in nowhere"),
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
def test_bad_input_is_one_line(trained, tmp_path, changes, message):
    said = refusal(run_policy, tmp_path / "run", trained.config("ppo", **changes))
    assert re.search(message, said)
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_the_command_line_has_its_fields(trained, tmp_path):
    """Those of its experiments too: a reward model is none that was fine-tuned."""
    command = ["--experiment=ppo_smoke", f"--workdir={tmp_path}/run"]
    for changes, message in (
        (["--config.ppo.prompts=none"], "config.ppo.prompts: got none, expected jsonl:PATH with"),
        (
            [
                f"--config.checkpoint.init_from={trained('sft').path}",
                f"--config.ppo.rewards=reward_model:{trained('sft').path}",
                "--config.ppo.max_answer_tokens=12",
            ],
            "expected a run that makes a reward model",
        ),
    ):
        ended = call("train", *command, *changes)
        assert ended.code == 2 and "Traceback" not in ended.errors
        assert message in ended.errors.splitlines()[-1]


def test_models_of_another_tokenizer_or_kind_are_refused(trained, tmp_path):
    other = {"data__tokenizer": "chat:bytes", "model__vocab_size": 261}
    for changes, message in (
        (other, r"reward model: got .*reward_model of the tokenizer \w{12}, expected"),
        (
            other | {"ppo__rewards": "gold"},
            r"init_from: got .*sft of the tokenizer \w{12}, expected",
        ),
        (
            {"ppo__value_from": str(trained("sft").path)},
            r"kind sft, .*expected a run that makes a reward m",
        ),
    ):
        said = refusal(run_policy, tmp_path / "run", trained.config("ppo", **changes))
        assert re.search(message, said)
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_reward_models_that_do_not_read_whole_answers_are_refused(trained, tmp_path, monkeypatch):
    room = "model of context_length = 32, expected at least 38"
    short = shutil.copytree(trained("reward_model").path, tmp_path / "short")
    said = json.loads((short / "config.json").read_text())
    said["config"]["model"]["context_length"] = 32
    said["config"]["reward"] |= {"max_prompt_tokens": 16, "max_answer_tokens": 16}
    (short / "config.json").write_text(json.dumps(said))
    config = trained.config("ppo", ppo__rewards="gold", ppo__value_from=str(short))
    assert f"config.ppo.value_from: got a reward {room}" in refusal(
        run_policy, tmp_path / "run", config
    )
    model = RewardModel(dataclasses.replace(config.model, context_length=32))
    reward = BatchReward("reward_model", ModelReward(model, {}, None))
    monkeypatch.setattr(policy_optimisation, "load_rewards", lambda *_, **__: [reward])
    assert f"config.ppo.rewards: got a reward {room}" in refusal(
        run_policy, tmp_path / "run", trained.config("ppo")
    )
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_another_reward_is_another_run(trained, tmp_path):
    copy = shutil.copytree(trained("ppo").path, tmp_path / "run")
    said = refusal(run_policy, copy, trained.config("ppo", ppo__rewards="gold"))
    assert re.search(r"holds another run.*ppo\.rewards: 'gold', not 'reward_", said)
    theirs = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(theirs | {"rewards_hash": "0" * 64}))
    said = refusal(run_policy, copy, trained.config("ppo"))
    assert re.search(r"rewards_hash: [0-9a-f]{12}, not 000000000000", said)


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
        pytest.param(
            {"stop__max_kl": 1e-4, "checkpoint__every_steps": 1},
            None,
            r"iteration 2: kl is .*, expected at most 0\.0001 nats an answer: .*; no checkpoint be",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"stop__min_entropy": 50.0},
            None,
            r"iteration 1: entropy is .*, expected at least 50\.0 nats a token: .*; no checkpoint",
            marks=pytest.mark.slow,
        ),
        (
            {"stop__max_empty": 0.9},
            Silent,
            r"iteration 4: empty is 1, expected at most 0\.9 of the answers: .*; last good .*: 2",
        ),
    ],
)
def test_a_lost_policy_ends_the_run(trained, tmp_path, changes, environment, message):
    config = relative(trained, **changes)
    said = refusal(run_policy, tmp_path / "run", config, None, environment)
    assert re.search(message, said)
    stopped = int(re.findall(r"iteration (\d)", said)[0])
    rows = read_metrics(tmp_path / "run/metrics.jsonl") if stopped > 1 else []
    assert [row["step"] for row in rows] == list(range(1, stopped))
