"""The suite on a tiny model: all parts run, and ratios are those of the seconds."""

import fnmatch
import json

import pytest

from experiments.benchmarks import ppo as suite
from experiments.benchmarks.figures import with_targets
from gptjax.config import ModelConfig

TINY = suite.PolicySizes(
    ModelConfig(vocab_size=453, context_length=48, num_layers=1, num_heads=2, d_model=16),
    prompt=36,
    batch_size=8,
    minibatches=2,
    iterations=4,
    rounds=2,
)


def in_known_seconds(programs, rounds):
    """Runs each program once, and says how long it took."""
    fixed = {"rollouts": 2.0, "engine": 1.5, "update": 3.0, "update_with_text": 6.0}
    for program in programs.values():
        assert program() > 0
    return {name: [(fixed | {"training": 2.0})[name]] * rounds for name in programs}


def flops_of_rows():
    """Rows of a minibatch, and the FLOPs of policy, value network and training step for one.

    By hand: a layer's kernels, scores and values of 48 positions; the policy has logits of the
    twelve tokens of an answer, the value network one number a token, a training step all logits.
    """
    rows, layer, width = 4, 6 * (12 * 16**2 + 2 * 16 * 48), 6 * 16
    policy, critic = 48 * layer + 12 * 453 * width, 48 * (layer + width)
    return rows, policy, critic, 48 * (layer + 453 * width)


def test_an_update_takes_the_flops_of_the_policy_and_the_value_network():
    rows, policy, critic, _ = flops_of_rows()
    assert suite.update_flops(TINY.config) == rows * (policy + critic)


@pytest.mark.slow
def test_the_suite_on_a_tiny_model(monkeypatch):
    monkeypatch.setattr(suite, "interleaved", in_known_seconds)
    figures = suite.measure_ppo(TINY)
    loop, rollouts, updates = figures["loop"], figures["rollouts"], figures["updates"]
    assert loop["compilations"] > 4 and loop["compilations_after_second_iteration"] == 0
    assert loop["copies_of_frozen_weights"] == pytest.approx(1.0, abs=0.01)
    assert rollouts["over_engine"] == 0.75
    assert 8 <= rollouts["tokens_per_second"] * 2.0 <= 8 * 12
    rows, policy, critic, training = flops_of_rows()
    assert updates["over_training"] == pytest.approx((policy + critic) / training * 2 / 3)
    with_text = (policy + critic + training) / training * 2 / 6
    assert updates["with_text_over_training"] == pytest.approx(with_text)
    assert updates["tokens_per_second"] == rows * 48 / 3
    paths = [f"{group}.{name}" for group in figures for name in figures[group]]
    assert all(fnmatch.filter(paths, target) for target in suite.TARGETS)
    json.dumps(with_targets(figures, suite.TARGETS))
