"""Runs of PPO and its relatives from their configuration to their result."""

import json
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.data.batches.loader import train_batches
from gptjax.judging.reward_models import load_reward_model
from gptjax.runs.inputs import load_model_tokenizer, prepare_corpus
from gptjax.settings import to_dict
from gptjax.tasks.policy_optimisation import kind as policy_optimisation
from gptjax.tasks.policy_optimisation.environment import PolicyEnvironment
from gptjax.training.reporting.metrics import read_metrics
from tests.support.alignment_runs import REPOSITORY, binary
from tests.support.policy_runs import HERE, curve, make_ppo, make_starts, run_policy

# What the loop is to show of each iteration.
FIGURES = {
    *(
        "learning_rate",
        "score",
        "rewards/reward_model",
        "rewards/gold",
        "rewards/brevity",
        "kl",
        "entropy",
    ),
    *("clip_fraction", "kl_k1", "kl_k3", "explained_variance", "ratio_min", "ratio_max"),
    *("answer_length", "finished", "empty", "policy_loss", "value_loss", "pretraining_loss"),
    *("seconds_rollout", "seconds_scoring", "seconds_update", "tokens_per_second"),
}

SHAPE = {"context_length": 48, "num_layers": 1, "num_heads": 2, "d_model": 16}  # of `starts`


@pytest.fixture(scope="module", autouse=True)
def _cache(cache):
    return cache


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    return make_starts(tmp_path_factory.mktemp("starts"))


@pytest.fixture(scope="module")
def whole(starts, tmp_path_factory):
    """A run that nobody interrupts; it is not to be changed."""
    return run_policy(tmp_path_factory.mktemp("runs") / "whole", make_ppo(starts))


def same_state(a, b, step=4):
    states = []
    for workdir in (a, b):
        with workdir.checkpoints() as checkpoints:
            states.append(
                [checkpoints.restore_params(step, item=x) for x in ("params", "optimizer", "ema")]
            )
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_run_says_what_happened_in_each_iteration(whole, starts):
    rows = read_metrics(whole.path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert row.keys() >= FIGURES
        total = row["rewards/reward_model"] + 0.5 * row["rewards/gold"]
        assert row["score"] == pytest.approx(total + 0.25 * row["rewards/brevity"], abs=1e-5)
        assert 0 < row["answer_length"] <= 12 and 0 <= row["empty"] <= row["finished"] <= 1
        assert row["ratio_min"] <= 1 <= row["ratio_max"]
    assert abs(rows[0]["kl"]) < 1e-5 < abs(rows[-1]["kl"])
    result = whole.result()
    assert result["step"] == 4 and result["kl"] == rows[-1]["kl"]
    assert result["dropped"] == {}
    described = json.loads((whole.path / "config.json").read_text())
    assert described["task"] == "ppo" and described["started_from"]["path"].endswith("sft")
    assert whole.config() == make_ppo(starts)


def test_the_average_and_beta_go_on_from_iteration_to_iteration(starts, tmp_path):
    """One update an iteration: the average, and beta, follow from what each checkpoint has."""
    config = make_ppo(starts, ppo__minibatches=1, checkpoint__every_steps=1, checkpoint__keep=4)
    workdir = run_policy(tmp_path / "run", config)
    average, beta = starts[0].params(), config.ppo.kl_coefficient
    rows = curve(workdir)
    with workdir.checkpoints() as checkpoints:
        for row in rows:
            params, kept = (
                checkpoints.restore_params(row["step"], item=x) for x in ("params", "ema")
            )
            average = jax.tree.map(lambda x, y: 0.9 * x + 0.1 * y, average, params)
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), kept, average)
            assert row["kl_coefficient"] == pytest.approx(beta, rel=1e-5)
            beta *= 1 + 0.1 * np.clip(row["kl"] / 0.01 - 1, -0.2, 0.2)


def test_samples_are_shown_before_and_as_it_learns(whole):
    lines = [json.loads(line) for line in (whole.path / "samples.jsonl").read_text().splitlines()]
    assert [(row["iteration"], row["prompt"]) for row in lines] == [
        (iteration, prompt) for iteration in (0, 2, 4) for prompt in range(3)
    ]
    for row in lines:
        parts = row["reward_model"] + 0.5 * row["gold"] + 0.25 * row["brevity"]
        assert row["score"] == pytest.approx(parts, abs=1e-5)
        assert row["brevity"] == pytest.approx(-len(row["response"]) / 10, rel=1e-6)
    page = (whole.path / "samples.html").read_text()
    assert page.count('<p class="system">iteration 0</p>') == 3


class Stopping(PolicyEnvironment):
    """SIGTERM comes while the third iteration's answers are drawn."""

    def _draw(self, params, iteration):
        if iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return super()._draw(params, iteration)


def test_a_run_stopped_half_way_goes_on_to_the_same_bits(whole, starts, tmp_path):
    stopped = run_policy(tmp_path / "run", make_ppo(starts), environment=Stopping)
    assert not stopped.has_result() and curve(stopped)[-1]["step"] == 3
    run_policy(stopped.path, make_ppo(starts))
    assert curve(stopped) == curve(whole)
    assert stopped.result()["score"] == whole.result()["score"]
    for name in ("samples.jsonl", "samples.html"):
        ours, theirs = ((each.path / name).read_text() for each in (stopped, whole))
        assert ours.replace("run: answers", "whole: answers") == theirs
    same_state(stopped, whole)


def test_another_reward_model_is_another_run(starts, tmp_path):
    config = make_ppo(starts)
    stopped = run_policy(tmp_path / "run", config, environment=Stopping)
    theirs = json.loads((stopped.path / "config.json").read_text())
    theirs["judges_hash"] = "0" * 64
    (stopped.path / "config.json").write_text(json.dumps(theirs))
    with pytest.raises(ValueError, match=r"judges_hash: [0-9a-f]{12}, not 000000000000"):
        run_policy(stopped.path, config)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_goes_on_to_the_same_bits(starts, tmp_path):
    """It is long enough for no life to reach its end; its samples are the last iterations' too."""
    config = make_ppo(starts, training__num_steps=12, training__eval_every=6)
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.policy_lives"]
    seed = random.randrange(1000)
    lives = subprocess.run(
        [*command, tmp_path / "config.json", tmp_path / "run", "--kills=2", f"--seed={seed}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert lives.returncode == 0, (seed, lives.stderr)
    assert any((tmp_path / "run/checkpoints").glob("[1-9]*")), seed
    killed = run_policy(tmp_path / "run", config)
    whole = run_policy(tmp_path / "whole", config)
    assert curve(killed) == curve(whole), seed
    assert killed.result()["score"] == whole.result()["score"]
    same_state(killed, whole, 12)
    samples = [(each.path / "samples.jsonl").read_text() for each in (killed, whole)]
    assert samples[0] == samples[1], seed


def test_it_goes_back_to_a_checkpoint_and_writes_a_result_that_is_not_there(
    whole, starts, tmp_path
):
    back = tmp_path / "run"
    shutil.copytree(whole.path, back)
    (back / "result.json").unlink()  # as a kill between checkpoint and result leaves it
    assert run_policy(back, make_ppo(starts)).result()["score"] == whole.result()["score"]
    back = run_policy(back, make_ppo(starts), restore_step=2)
    assert curve(back) == curve(whole)
    with back.checkpoints() as checkpoints:
        assert checkpoints.steps() == [2, 4]
    with pytest.raises(ValueError, match=r"--restore_step: got 2, but .*new.* has no checkpoint"):
        run_policy(tmp_path / "new", make_ppo(starts), restore_step=2)


def test_a_mesh_gives_the_curve_of_one_device(whole, starts, tmp_path):
    mesh = {"strategy": "mesh", "data": 2, "fsdp": 2, "tensor": 2}
    config = make_ppo(starts, **{f"parallelism__{name}": x for name, x in mesh.items()})
    divided = run_policy(tmp_path / "run", config)
    for row, expected in zip(curve(divided), curve(whole), strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("advantages", "epochs"), [("grpo", 1), ("rloo", 2)])
def test_relatives_need_neither_value_network_nor_reward_model(
    starts, tmp_path, advantages, epochs
):
    """Of one minibatch the ratios of the first epoch are 1, and those of the second are not."""
    config = make_ppo(
        starts,
        ppo__advantages=advantages,
        ppo__answers_per_prompt=4,
        ppo__pretraining_coefficient=0.0,
        ppo__rewards="gold",
        ppo__minibatches=1,
        ppo__inner_epochs=epochs,
        training__num_steps=2,
    )
    workdir = run_policy(tmp_path / "run", config)
    for row in curve(workdir):
        assert not {"value_loss", "explained_variance", "pretraining_loss"} & row.keys()
        assert row["score"] == row["rewards/gold"]
        assert (row["ratio_max"] - row["ratio_min"] < 1e-5) == (epochs == 1)


class Counting(PolicyEnvironment):
    """Says at which iteration answers are drawn."""

    def _draw(self, params, iteration):
        logging.getLogger("jax").warning("iteration %d", iteration)
        return super()._draw(params, iteration)


def test_nothing_is_compiled_after_the_second_iteration(starts, tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="jax")
    config = make_ppo(starts, training__num_steps=5)
    with jax.log_compiles():
        run_policy(tmp_path / "run", config, environment=Counting)
    messages = [m for m in caplog.messages if re.match("Compiling|iteration", m)]
    first, third = messages.index("iteration 0"), messages.index("iteration 2")
    assert any("update" in message for message in messages[first:third])
    assert messages[third:] == [f"iteration {number}" for number in (2, 3, 4)]


def test_prompts_past_the_limit_are_dropped_and_counted(starts, tmp_path):
    """Rows of prompts need no answers."""
    prompts = ["copy: fox", "sort: jar fox", "reverse: jar", " ".join(["jar"] * 40)]
    lines = [json.dumps({"prompt": prompt}) + "\n" for prompt in prompts]
    (tmp_path / "prompts.jsonl").write_text("".join(lines))
    config = make_ppo(
        starts,
        ppo__prompts=f"jsonl:{tmp_path}/prompts.jsonl",
        ppo__rewards=f"reward_model:{starts[1].path} + 0.5*python:{HERE}:brevity",
        training__num_steps=1,
    )
    result = run_policy(tmp_path / "run", config).result()
    assert result["dropped"] == {"prompts longer than 26 tokens": 1}


def at_start(path, config):
    """The state before the first iteration of a run in `path`, and its environment."""

    class Started(Exception):
        pass

    def optimise(state, reference, programs, environment, *_, **__):
        raise Started(state, environment)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Started) as started:
        patch.setattr(policy_optimisation, "optimise", optimise)
        run_policy(path, config)
    return started.value.args


def test_the_value_network_starts_from_a_reward_model_or_from_the_policy(starts, tmp_path):
    sft, reward = starts

    def critic(path, **changes):
        return at_start(path, make_ppo(starts, **changes))[0].opt_state.critic

    expected = load_reward_model(reward, reward.tokenizer())[1]
    jax.tree.map(np.testing.assert_array_equal, critic(tmp_path / "a"), expected)
    named = critic(tmp_path / "b", ppo__rewards="gold", ppo__value_from=str(reward.path))
    jax.tree.map(np.testing.assert_array_equal, named, expected)
    alone = dict(critic(tmp_path / "c", ppo__rewards="gold"))
    assert alone.pop("scalar_head")["kernel"].shape == (16,)
    jax.tree.map(np.testing.assert_array_equal, alone, sft.params())


def test_text_is_a_function_of_the_iteration(starts, tmp_path):
    """That of pretraining, with the answers of an iteration times its rows for a batch."""
    config = make_ppo(starts, ppo__pretraining_rows=2)
    first, again = (at_start(tmp_path / name, config)[1].text for name in "ab")
    text = prepare_corpus(config, load_model_tokenizer(config)).train
    batches = train_batches(text, BatchSchedule(16, 48), seed=0, start_step=0)
    for iteration in (2, 0, 1):
        jax.tree.map(np.testing.assert_array_equal, first(iteration), again(iteration))
    for iteration in range(3):
        np.testing.assert_array_equal(first(iteration)["tokens"], next(batches)["tokens"])


@pytest.mark.slow
def test_the_binary_runs_from_its_command_line(starts, tmp_path):
    sft, reward = (str(start.path) for start in starts)
    small = [
        "--experiment=ppo_smoke",
        f"--workdir={tmp_path / 'run'}",
        *(f"--config.model.{name}={size}" for name, size in SHAPE.items()),
        "--config.training.num_steps=1",
        "--config.training.batch_size=8",
        "--config.ppo.prompts=instructions:count=40",
        "--config.ppo.max_prompt_tokens=26",
        "--config.ppo.max_answer_tokens=12",
        f"--config.checkpoint.init_from={sft}",
    ]
    done = binary("train", *small, f"--config.ppo.rewards=reward_model:{reward}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(
        f"step 1: {tmp_path}/run/result.json, score.png and checkpoints are written\n"
    )
    wrong = binary("train", *small, f"--config.ppo.rewards=reward_model:{sft}")
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[-1].endswith("expected one of a reward model")
    assert "Traceback" not in wrong.stderr
