"""Runs of PPO and its relatives from their configuration to their result."""

import contextlib
import json
import logging
import shutil

import jax
import numpy as np
import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.data.batches.loader import train_batches
from gptjax.judging.reward_models import load_reward_model
from gptjax.runs.inputs import load_model_tokenizer, prepare_corpus
from gptjax.tasks.policy_optimisation import environment as environments
from gptjax.tasks.policy_optimisation import kind as policy_optimisation
from gptjax.tasks.policy_optimisation.networks import ActorCritic
from gptjax.training import optimizers
from gptjax.training.partitioning import make_mesh
from gptjax.training.reporting.metrics import read_metrics
from tests.support.alignment_runs import killed_at, prepared
from tests.support.policy_runs import HERE, curve, relative, run_policy, stopping_environment

# What the loop is to show of each iteration.
FIGURES = {
    *("learning_rate", "score", "rewards/reward_model", "rewards/gold", "rewards/brevity"),
    *("kl", "entropy"),
    *("clip_fraction", "kl_k1", "kl_k3", "explained_variance", "ratio_min", "ratio_max"),
    *("answer_length", "finished", "empty", "policy_loss", "value_loss", "pretraining_loss"),
    *("seconds_rollout", "seconds_scoring", "seconds_update", "seconds", "tokens"),
    "tokens_per_second",
}


@pytest.fixture(scope="module")
def whole(trained):
    """A run that nobody interrupts; it is not to be changed."""
    return trained("ppo")


@contextlib.contextmanager
def compilations():
    """What is compiled, and between that when which iteration's answers are drawn."""
    logged, logger = Logged(), logging.getLogger("jax")
    logger.addHandler(logged)
    try:
        with jax.log_compiles():
            yield logged.messages
    finally:
        logger.removeHandler(logged)


class Logged(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        message = record.getMessage()
        if message.startswith(("Compiling", "iteration")):
            self.messages.append(message)


def same_state(a, b, step=4):
    states = []
    for workdir in (a, b):
        with workdir.checkpoints() as checkpoints:
            states.append(
                [checkpoints.restore_params(step, item=x) for x in ("params", "optimizer", "ema")]
            )
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_run_says_what_happened_in_each_iteration(whole, trained):
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
    assert whole.config() == trained.config("ppo")


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


class Counting(stopping_environment(2)):
    """Says at which iteration answers are drawn."""

    def _draw(self, params, current):
        logging.getLogger("jax").warning("iteration %d", current)
        return super()._draw(params, current)


@pytest.mark.slow
def test_a_run_stopped_half_way_goes_on_to_the_same_bits(trained, whole, tmp_path, monkeypatch):
    """Nothing is compiled after the second iteration."""
    config = trained.config("ppo")
    with compilations() as messages, monkeypatch.context() as patch:
        patch.setattr(ActorCritic, "programs", ActorCritic.programs.__wrapped__)
        stopped = run_policy(tmp_path / "run", config, environment=Counting)
    assert not stopped.has_result() and curve(stopped)[-1]["step"] == 3
    first, third = messages.index("iteration 0"), messages.index("iteration 2")
    assert any("update" in message for message in messages[first:third])
    assert messages[third:] == ["iteration 2"]
    run_policy(stopped.path, config)
    assert curve(stopped) == curve(whole)
    assert stopped.result()["score"] == whole.result()["score"]
    for name in ("samples.jsonl", "samples.html"):
        ours, theirs = ((each.path / name).read_text() for each in (stopped, whole))
        assert ours.replace("run: answers", "ppo: answers") == theirs
    same_state(stopped, whole)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bits(trained, whole, tmp_path):
    """Before there is a checkpoint, while one may be half written, and again."""
    config = trained.config("ppo", checkpoint__every_steps=1)
    killed = killed_at(tmp_path / "killed", config, 0, 2, 3)
    assert not killed.has_result()
    run_policy(killed.path, config)
    assert curve(killed) == curve(whole)
    assert killed.result()["score"] == whole.result()["score"]
    same_state(killed, whole)
    samples = [(each.path / "samples.jsonl").read_text() for each in (killed, whole)]
    assert samples[0] == samples[1]


@pytest.mark.slow
def test_it_goes_back_to_a_checkpoint_and_writes_a_result_that_is_not_there(
    trained, whole, tmp_path
):
    config, back = trained.config("ppo"), tmp_path / "run"
    shutil.copytree(whole.path, back)
    (back / "result.json").unlink()  # as a kill between checkpoint and result leaves it
    assert run_policy(back, config).result()["score"] == whole.result()["score"]
    back = run_policy(back, config, restore_step=2)
    assert curve(back) == curve(whole)
    with back.checkpoints() as checkpoints:
        assert checkpoints.steps() == [2, 4]


def same_on_a_mesh(path, alone):
    """The run in `path`, divided, has the curve of the run of one device."""
    config = alone.config()
    config.parallelism.strategy = "mesh"
    config.parallelism.data = config.parallelism.fsdp = config.parallelism.tensor = 2
    for row, expected in zip(curve(run_policy(path, config)), curve(alone), strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_a_mesh_gives_the_curve_of_one_device(whole, tmp_path):
    same_on_a_mesh(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_mesh_gives_the_curve_of_one_device_without_a_value_network(grpo, tmp_path):
    same_on_a_mesh(tmp_path / "run", grpo)


@pytest.fixture(scope="module")
def grpo(trained, tmp_path_factory):
    """One update an iteration, and a checkpoint after each."""
    config = relative(trained, checkpoint__every_steps=1, checkpoint__keep=4)
    return run_policy(tmp_path_factory.mktemp("runs") / "grpo", config)


def without_value_network(workdir, one):
    """Of one minibatch the ratios of the first epoch are 1, and those of the second are not."""
    for row in curve(workdir):
        assert not {"value_loss", "explained_variance", "pretraining_loss"} & row.keys()
        assert row["score"] == row["rewards/gold"]
        assert (row["ratio_max"] - row["ratio_min"] < 1e-5) == one


def test_grpo_needs_neither_value_network_nor_reward_model(grpo):
    without_value_network(grpo, one=True)


@pytest.mark.slow
def test_a_reward_that_is_always_the_same_teaches_nothing(trained, tmp_path):
    """Without GRPO's divergence, whose gradient at the reference is what two programs round to."""
    reward = {"ppo__rewards": f"python:{HERE}:constant", "ppo__answers_per_prompt": 8}
    others = {"ppo__unfinished_score": None, "optimizer__weight_decay": 0.0}
    config = relative(trained, ppo__kl_coefficient=0.0, **reward, **others)
    rows = curve(run_policy(tmp_path / "run", config))
    assert [row["score"] for row in rows] == pytest.approx([17.3] * 4)
    assert [(row["policy_loss"], row["grad_norm"]) for row in rows] == [(0, 0)] * 4


@pytest.mark.slow
def test_rloo_needs_neither_value_network_nor_reward_model(trained, tmp_path):
    config = relative(trained, ppo__advantages="rloo", ppo__inner_epochs=2, training__num_steps=2)
    without_value_network(run_policy(tmp_path / "run", config), one=False)


@pytest.mark.slow
def test_the_average_and_beta_go_on_from_iteration_to_iteration(grpo, trained):
    """One update an iteration: the average, and beta, follow from what each checkpoint has."""
    average, beta = trained("sft").params(), grpo.config().ppo.kl_coefficient
    with grpo.checkpoints() as checkpoints:
        for row in curve(grpo):
            params = checkpoints.restore_params(row["step"], item="params")
            kept = checkpoints.restore_params(row["step"], item="ema")
            average = jax.tree.map(
                lambda x, y: 0.9 * np.asarray(x) + 0.1 * np.asarray(y), average, params
            )
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), kept, average)
            assert row["kl_coefficient"] == pytest.approx(beta, rel=1e-5)
            beta *= 1 + 0.1 * np.clip(row["kl"] / 0.01 - 1, -0.2, 0.2)


def test_prompts_past_the_limit_are_dropped_and_counted(trained, tmp_path):
    """Rows of prompts need no answers."""
    prompts = ["copy: fox", "sort: jar fox", "reverse: jar", " ".join(["jar"] * 40)]
    lines = [json.dumps({"prompt": prompt}) + "\n" for prompt in prompts]
    (tmp_path / "prompts.jsonl").write_text("".join(lines))
    read = prepared(
        trained.config(
            "ppo",
            ppo__prompts=f"jsonl:{tmp_path}/prompts.jsonl",
            ppo__rewards=f"python:{HERE}:brevity",
        )
    )
    assert [prompt[0].content for prompt in read.prompts.prompts] == prompts[:3]
    learner = policy_optimisation.KIND.learner(read, None)
    assert learner.final_metrics(None) == {"dropped": {"prompts longer than 26 tokens": 1}}


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


def test_the_value_network_starts_from_a_reward_model_or_from_the_policy(trained, tmp_path):
    sft, reward = trained("sft"), trained("reward_model")

    def critic(path, **changes):
        return at_start(path, trained.config("ppo", **changes))[0].opt_state.critic

    expected = load_reward_model(reward, reward.tokenizer())[1]
    jax.tree.map(np.testing.assert_array_equal, critic(tmp_path / "a"), expected)
    named = critic(tmp_path / "b", ppo__rewards="gold", ppo__value_from=str(reward.path))
    jax.tree.map(np.testing.assert_array_equal, named, expected)
    alone = dict(critic(tmp_path / "c", ppo__rewards="gold"))
    assert alone.pop("scalar_head")["kernel"].shape == (16,)
    jax.tree.map(np.testing.assert_array_equal, alone, sft.params())


def test_the_learning_rate_of_an_update_is_that_of_its_iteration(whole, trained, monkeypatch):
    """Of two updates each, as the rows say; the value network's is on the same schedule."""
    schedules, make = {}, optimizers.make_optimizer

    def noted(settings, schedule, *more):
        schedules[settings.learning_rate] = schedule
        return make(settings, schedule, *more)

    monkeypatch.setattr(optimizers, "make_optimizer", noted)
    config = trained.config("ppo", ppo__value_learning_rate=0.04)
    ActorCritic(config, [], make_mesh(config.parallelism))
    said = np.repeat([row["learning_rate"] for row in curve(whole)], 2)
    assert len(set(said)) == 4
    for peak, schedule in schedules.items():
        rates = list(map(jax.jit(schedule), range(8)))
        np.testing.assert_allclose(rates, said * peak / 0.01, rtol=1e-6)
    assert schedules.keys() == {0.01, 0.04}


def test_prompts_and_episodes_go_on_from_iteration_to_iteration(trained, tmp_path, monkeypatch):
    """Five iterations of eight are the forty prompts, each once, and forty episodes."""
    config = trained.config("ppo", ppo__rewards="gold")
    state, environment = at_start(tmp_path / "run", config)
    prompts, episodes = [], []

    def noted(generator, ids, numbers, *_, **__):
        prompts.extend(tuple(each.tolist()) for each in ids)
        episodes.extend(numbers)

    monkeypatch.setattr(environments, "draw_rollouts", noted)
    for iteration in range(5):
        environment.draw(state.params, iteration)
    assert episodes == list(range(40))
    assert sorted(prompts) == sorted(tuple(ids.tolist()) for ids in prepared(config).prompts.ids)


@pytest.mark.slow
def test_samples_of_a_run_that_goes_back_are_those_before_it_and_new_ones(whole, trained, tmp_path):
    state, environment = at_start(tmp_path / "run", trained.config("ppo"))
    for made in ("samples.jsonl", "samples.html"):
        shutil.copy(whole.path / made, tmp_path / "run" / made)
    environment.show(state.params, 2)
    lines = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in lines] == [0, 0, 0, 2, 2, 2]


def test_the_first_prompt_is_shown_without_a_call_of_a_reward(trained, tmp_path, monkeypatch):
    state, environment = at_start(tmp_path / "run", relative(trained, training__sample_tokens=1))
    monkeypatch.setattr(environments, "scored", lambda *_: pytest.fail("it is scored"))
    environment.show(state.params, 2)
    (line,) = (tmp_path / "run/samples.jsonl").read_text().splitlines()
    assert json.loads(line).keys() == {"iteration", "prompt", "response", "finished"}
    assert "iteration 2" in (tmp_path / "run/samples.html").read_text()


def test_text_is_a_function_of_the_iteration(trained, tmp_path):
    """That of pretraining, with the answers of an iteration times its rows for a batch."""
    config = trained.config("ppo", ppo__pretraining_rows=2)
    text_of = at_start(tmp_path / "run", config)[1].text
    text = prepare_corpus(config, load_model_tokenizer(config)).train
    batches = train_batches(text, BatchSchedule(16, 48), seed=0, start_step=0)
    expected = [next(batches) for _ in range(3)]
    for iteration in (2, 0, 1):
        given = text_of(iteration)
        assert given.keys() >= {"tokens", "targets", "segment_ids"}
        np.testing.assert_array_equal(given["tokens"], expected[iteration]["tokens"])
