import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import ParallelismConfig, resolve
from gptjax.models.gpt import GPT
from gptjax.runs.planning import dry_run as module
from gptjax.runs.planning.dry_run import (
    GIB,
    Planned,
    bytes_of_each_device,
    dry_run,
    dry_run_lines,
)
from gptjax.runs.program import Program
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.policy_optimisation.networks import ActorCritic
from gptjax.tasks.policy_optimisation.plan import networks_of, update_batches
from gptjax.training.partitioning import make_mesh
from tests.support.binaries import call


def _config(experiment, **axes):
    config = EXPERIMENTS.get(experiment)()
    config.parallelism = ParallelismConfig(strategy="mesh" if axes else "single", **axes)
    return config


@pytest.fixture
def planned(monkeypatch):
    """Stands in for the compiler: a step needs as much again as the state of `asked`."""
    asked = []

    def plan(config, devices, target):
        asked.append(devices)
        return Planned(1000 * GIB)

    monkeypatch.setattr(module, "_planned_in_a_child", plan)
    return asked


@pytest.mark.parametrize("axes", [{}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_bytes_of_state_are_those_of_the_arrays_that_a_device_gets(axes):
    config = _config("gpt2_smoke", **axes)
    config.optimizer.ema_decay = 0.99
    program = Program(resolve(config))
    state = jax.tree.map(
        lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding),
        program.target,
    )
    first = jax.devices()[0]
    for part in dataclasses.fields(state):
        held = sum(
            shard.data.nbytes
            for leaf in jax.tree.leaves(getattr(state, part.name))
            for shard in leaf.addressable_shards
            if shard.device == first
        )
        assert bytes_of_each_device(getattr(program.target, part.name)) == held > 0


def test_the_largest_model_on_more_devices_than_there_are(planned):
    """By hand: what is divided, and what is not, of 175 billion parameters on 64 devices."""
    config = resolve(_config("gpt3_175b", data=2, fsdp=8, tensor=8))
    figures = dry_run(config, device_memory_gib=80)
    width, layers = 12288, 96
    kernels = 12 * width**2 / 64
    # Divided by tensor alone: biases of queries, keys, values and feed-forward. Not divided: the
    # other two biases and two norms.
    of_a_layer = kernels + (3 + 4) * width / 8 + 6 * width
    embeddings = 50304 * width / 64 + 2048 * width / 8
    expected = 4 * (layers * of_a_layer + embeddings + 2 * width)
    assert figures["parameter_bytes"] == expected
    assert figures["optimizer_bytes"] == pytest.approx(2 * expected, abs=1000)  # and counts
    assert planned == [128]
    assert figures["mesh"] == {"data": 2, "fsdp": 8, "sequence": 1, "tensor": 8}
    assert figures["estimated_to_fit"] is False
    assert (
        figures["estimated_activation_bytes"]
        == 1000 * GIB - expected - (figures["optimizer_bytes"])
    )
    # GPT-3, table D.1: 3.14e23 FLOPs of training for 300 billion tokens, attention left out.
    a_token = figures["flops_per_step"] / (config.training.batch_size * 2048)
    assert a_token == pytest.approx(3.14e23 / 300e9, rel=0.06)
    text = "\n".join(dry_run_lines(figures))
    assert "on 128 devices (data=2, fsdp=8, sequence=1, tensor=8)" in text
    assert "1,000.000" in text and "it should NOT fit" in text
    json.dumps(figures)


def test_the_axis_left_open_is_that_of_the_devices_at_hand(planned):
    assert dry_run(resolve(_config("gpt2_smoke", fsdp=2)), 1001)["mesh"]["data"] == 4
    figures = dry_run(resolve(_config("gpt2_smoke")))
    assert planned == [8, 1]
    assert figures["device_memory_bytes"] is figures["estimated_to_fit"] is None
    assert "--device_memory_gib" in list(dry_run_lines(figures))[-1]


def test_what_no_mesh_can_run_is_refused(planned):
    with pytest.raises(ValueError, match=r"parallelism\.tensor: got 5, expected a divisor of 1024"):
        dry_run(resolve(_config("gpt2_smoke", data=1, tensor=5)))
    assert not planned


@pytest.mark.slow
def test_the_command_compiles_its_own_kind_for_as_many_devices_as_it_is_told():
    """A step takes the state, and more; a device has a sixteenth of the parameters at least."""
    done = call(
        *("train", "--experiment=reward_model_smoke", "--dry_run", "--device_memory_gib=1"),
        *("--config.model.num_layers=1", "--config.reward.max_answers=2"),
        *(f"--config.parallelism.{field}" for field in ("strategy=mesh", "fsdp=16", "data=1")),
    )
    assert (done.code, done.errors) == (0, "")
    lines = done.output.splitlines()
    figures = json.loads(lines[-1])
    assert lines[-2] == "it should fit"
    assert figures["experiment"] == "reward_model_smoke" and figures["estimated_to_fit"] is True
    assert figures["parameter_bytes"] > 4 * figures["parameters"] / 16
    assert figures["estimated_activation_bytes"] > figures["parameter_bytes"]
    a_token = 6 * (12 * 64**2 + 64 + 2 * 64**2)  # kernels, scalar head, pairs of a layer
    assert figures["flops_per_step"] == a_token * 16 * (36 + 2 * 28)  # prompts and answers


def test_a_reward_model_has_no_logits_and_a_row_of_it_several_answers(planned):
    """By hand, of InstructGPT's 6B: what is counted is not what GPT-3's counts."""
    config = resolve(_config("reward_model_6b", data=1, fsdp=8, tensor=8))
    figures = dry_run(config, device_memory_gib=80)
    width, layers, vocab, length = 4096, 32, 50262, 2048
    of_a_layer = 12 * width**2 + 13 * width
    expected = layers * of_a_layer + (vocab + length) * width + 2 * width + width + 1
    assert figures["parameters"] == expected
    tokens = 64 * 9 * 2048
    a_token = 6 * (layers * 12 * width**2 + width) + 12 * layers * width * length
    assert figures["flops_per_step"] == pytest.approx(a_token * tokens, rel=1e-12)
    config.reward.max_answers = 2
    assert dry_run(config)["flops_per_step"] == pytest.approx(a_token * tokens * 2 / 9, rel=1e-12)
    config.reward.max_answer_tokens = 2000
    with pytest.raises(ValueError, match=r"max_answer_tokens: got 2000, expected at most 1024"):
        dry_run(config)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [{}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_each_part_of_ppo_is_what_its_arrays_take(planned, axes):
    """The networks of `ppo_smoke` with an average, made for real on virtual devices."""
    config = _config("ppo_smoke", **axes)
    config.optimizer.ema_decay = 0.99
    config = resolve(config)
    figures = dry_run(config, device_memory_gib=2000)
    mesh = make_mesh(config.parallelism)
    networks = ActorCritic(config, [], mesh)
    sharding = jax.tree.map(lambda leaf: leaf.sharding, networks.target.params)
    token = jax.numpy.zeros((1, 1), "int32")
    init = GPT(config.model).init
    policy = jax.jit(lambda: init(jax.random.key(0), token)["params"], out_shardings=sharding)()
    state = networks.initial_state(policy)
    beside = state.opt_state
    first = jax.devices()[0]
    for name, tree in {
        "parameter_bytes": state.params,
        "optimizer_bytes": beside.optimizer,
        "average_bytes": state.ema,
        "reference_bytes": policy,
        "reward_model_bytes": beside.critic,
        "value_network_bytes": beside.critic,
        "value_optimizer_bytes": beside.critic_optimizer,
    }.items():
        held = sum(
            shard.data.nbytes
            for leaf in jax.tree.leaves(tree)
            for shard in leaf.addressable_shards
            if shard.device == first
        )
        assert figures[name] == held > 0, name
    beside_the_update = sum(
        figures[name] for name in ("reference_bytes", "reward_model_bytes", "rollout_bytes")
    )
    assert figures["estimated_total_bytes"] == 1000 * GIB + beside_the_update


def test_what_ppo_keeps_is_what_its_configuration_says(planned, tmp_path):
    """By hand: cache and FLOPs of InstructGPT's 1.3B; which reward models there are."""
    config = resolve(_config("ppo_ptx_1.3b", data=1, fsdp=4, tensor=2))
    figures = dry_run(config)
    width, layers, vocab, answers = 2048, 24, 50262, 512
    held = 12 * 2048 + 12 * (256 + 256 - 1)  # a band holds its window and a piece of a prompt
    keys_and_values, positions = 2 * answers * held * width * 4, answers * held * 4
    cache = figures["rollout_bytes"] - figures["parameter_bytes"]
    halves, quarters = 2, 4  # of heads over `tensor`, of answers over `fsdp`
    assert cache == pytest.approx((keys_and_values + positions) / halves / quarters, rel=1e-3)
    kernels, pairs = layers * 12 * width**2, 2 * layers * width
    answer = 2000 * 6 * (kernels + vocab * width + pairs * 2000)  # trained on, as if dense
    scored = 2000 * 6 * (kernels + width + pairs * 2000)
    text = 2048 * 6 * (kernels + vocab * width + pairs * 2048)
    each = answer + scored + (3 * answer + 2 * scored) / 3 + 8 * text
    assert figures["flops_per_step"] == pytest.approx(answers * each, rel=1e-9)
    beside = sum(figures[f"{part}_bytes"] for part in ("reference", "reward_model", "rollout"))
    assert figures["estimated_total_bytes"] == 1000 * GIB + beside
    text = "\n".join(dry_run_lines(figures))
    assert "its optimizer" in text and "executed" not in text

    small = WorkDirectory(str(tmp_path / "reward"))
    small.begin("reward", resolve(EXPERIMENTS.get("reward_model_smoke")()), {})
    config = resolve(_config("ppo_smoke"))
    config.model.num_layers, config.model.d_ff = 5, 512
    larger = dry_run(config)["reward_model_bytes"]
    config.ppo.rewards = f"reward_model:{small.path} + 0.5*gold"
    figures = dry_run(config)
    assert figures["value_network_bytes"] == figures["reward_model_bytes"] < larger / 2
    config.ppo.rewards = "gold"
    figures = dry_run(config)
    assert figures["reward_model_bytes"] == 0 and figures["value_network_bytes"] == larger
    config.ppo.minibatches = 3
    with pytest.raises(ValueError, match=r"config\.ppo\.minibatches: got 3, expected a divisor"):
        dry_run(config)


def test_an_update_is_lowered_with_the_arrays_that_a_run_gives_it():
    """Of each kind of advantages, with and without text: names, shapes and types are its own."""
    for advantages, gamma in (("gae", 2.0), ("grpo", 0.0), ("rloo", 0.0)):
        config = _config("ppo_smoke")
        config.ppo.advantages, config.ppo.pretraining_coefficient = advantages, gamma
        config.ppo.answers_per_prompt = 8
        config = resolve(config)
        batch, text = update_batches(config)
        assert (text is None) == (gamma == 0.0)
        networks = networks_of(config, make_mesh(config.parallelism))
        state, figures = jax.eval_shape(
            networks.programs(text is not None).update, networks.target, batch, text
        )
        assert jax.tree.structure(state) == jax.tree.structure(networks.target)
        assert ("value_loss" in figures) == (advantages == "gae")
        assert ("reference_log_probs" in batch) == (advantages == "grpo")
