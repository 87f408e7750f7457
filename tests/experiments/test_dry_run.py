import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments import dry_run as module
from experiments.configs import EXPERIMENTS
from experiments.dry_run import GIB, bytes_of_each_device, dry_run, table
from experiments.training_run import Program
from gptjax.config import ParallelismConfig, resolve

REPOSITORY = Path(__file__).resolve().parents[2]


def _config(experiment, **axes):
    config = EXPERIMENTS.get(experiment)()
    config.parallelism = ParallelismConfig(strategy="mesh" if axes else "single", **axes)
    return config


@pytest.fixture
def planned(monkeypatch):
    """Stands in for the compiler: a step needs as much again as the state of `asked`."""
    asked = []

    def plan(config, devices):
        asked.append(devices)
        return 1000 * GIB

    monkeypatch.setattr(module, "_planned_in_a_child", plan)
    return asked


@pytest.mark.parametrize("axes", [{}, {"fsdp": 4, "tensor": 2}, {"data": 2, "fsdp": 4}])
def test_bytes_of_state_are_those_of_the_arrays_that_a_device_gets(axes):
    config = _config("gpt2_smoke", **axes)
    config.optimizer.ema_decay = 0.99
    program = Program(resolve(config))
    sharding = jax.tree.map(lambda leaf: leaf.sharding, program.target)
    state = jax.jit(program.fresh, out_shardings=sharding)()
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
    text = "\n".join(table(figures))
    assert "on 128 devices (data=2, fsdp=8, sequence=1, tensor=8)" in text
    assert "1,000.000" in text and "it should NOT fit" in text
    json.dumps(figures)


def test_the_axis_left_open_is_that_of_the_devices_at_hand(planned):
    assert dry_run(resolve(_config("gpt2_smoke", fsdp=2)), 1001)["mesh"]["data"] == 4
    figures = dry_run(resolve(_config("gpt2_smoke")))
    assert planned == [8, 1]
    assert figures["device_memory_bytes"] is figures["estimated_to_fit"] is None
    assert "--device_memory_gib" in list(table(figures))[-1]


def test_what_no_mesh_can_run_is_refused(planned):
    with pytest.raises(ValueError, match=r"parallelism\.tensor: got 5, expected a divisor of 1024"):
        dry_run(resolve(_config("gpt2_smoke", data=1, tensor=5)))
    assert not planned


def test_the_command_compiles_for_as_many_devices_as_it_is_told():
    """A step takes the state, and more; a device has a sixteenth of the parameters at least."""
    command = [sys.executable, "-m", "experiments.pretrain", "--experiment=gpt2_smoke"]
    command += ["--dry_run", "--device_memory_gib=1", "--config.training.batch_size=16"]
    command += [f"--config.parallelism.{field}" for field in ("strategy=mesh", "fsdp=16", "data=1")]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    figures = json.loads(lines[-1])
    assert lines[-2] == "it should fit"
    assert figures["experiment"] == "gpt2_smoke" and figures["estimated_to_fit"] is True
    assert figures["parameter_bytes"] > 4 * figures["parameters"] / 16
    assert figures["estimated_activation_bytes"] > figures["parameter_bytes"]


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


def test_the_child_knows_which_model_it_is():
    """Of a reward model, by its command: neither data nor a directory is asked for."""
    command = [sys.executable, "-m", "experiments.reward_model", "--experiment=reward_model_smoke"]
    run = subprocess.run(
        [*command, "--dry_run"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout.splitlines()[-1])
    chats = Program(resolve(_config("sft_smoke"))).target.params
    assert figures["parameter_bytes"] - bytes_of_each_device(chats) == 4 * (64 + 1)
    a_token = 6 * (24 * 64**2 + 64 + 4 * 64**2)  # kernels, scalar head, pairs of two layers
    assert figures["flops_per_step"] == a_token * 16 * (36 + 9 * 28)  # prompts and answers
    assert figures["estimated_activation_bytes"] > figures["parameter_bytes"]
