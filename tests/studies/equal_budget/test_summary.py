"""Statistics against a printed table, density against loops, curves against a worked example."""

import numpy as np
import pytest

from gptjax import attention
from gptjax.config import ExperimentConfig, ModelConfig, TrainingConfig, resolve
from gptjax.models.costs import executed_training_flops_per_token
from gptjax.studies.equal_budget.summary import density, loss_curve, t_interval

# Student's t, two-sided 95%, by degrees of freedom, as statistics books print it.
PRINTED = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 29: 2.045}


@pytest.mark.parametrize(("freedom", "t"), PRINTED.items())
def test_the_interval_is_students(freedom, t):
    values = list(np.random.default_rng(freedom).normal(3.0, 0.1, freedom + 1))
    found = t_interval(values)
    assert found["mean"] == pytest.approx(np.mean(values))
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert found["half_width"] == pytest.approx(t * error, rel=2e-4)


def test_one_seed_has_no_interval():
    assert t_interval([2.5]) == {"mean": 2.5, "half_width": None}


@pytest.mark.parametrize(
    "specification",
    [
        "dense",
        "banded(window=3)",
        "dense,banded(window=3),strided(stride=4)",
        "heads(dense,banded(window=2),banded(window=5)),prefix(length=7)",
    ],
)
def test_density_is_the_share_of_causal_pairs(specification):
    length, layers, heads = 19, 4, 5
    config = ModelConfig(
        context_length=length, num_layers=layers, num_heads=heads, attention=specification
    )
    patterns = attention.parse(specification)
    pairs = 0
    for layer in range(layers):
        for head in range(heads):
            cycle = patterns[layer % len(patterns)].per_head()
            pattern = cycle[head % len(cycle)]
            for q in range(length):
                for k in range(length):
                    ordered = pattern.states_order or k <= q
                    pairs += ordered and bool(pattern(np.array(q), np.array(k)))
    causal = length * (length + 1) // 2
    assert density(config) == pytest.approx(pairs / (layers * heads * causal))


def test_a_curve_has_the_cost_of_each_evaluation():
    """100 tokens a step; 2 steps at 100 tokens/s, 2 at 50: an evaluation in between is at 4 s."""
    config = resolve(
        ExperimentConfig(
            model=ModelConfig(
                vocab_size=16, context_length=50, num_layers=1, num_heads=1, d_model=8
            ),
            training=TrainingConfig(num_steps=4, batch_size=2),
        )
    )
    rows = [
        {"step": 2, "loss": 9.0, "tokens_per_second": 100.0},
        {"step": 3, "split": "validation", "loss": 3.0},
        {"step": 4, "loss": 9.0, "tokens_per_second": 50.0},
        {"step": 4, "split": "validation", "loss": 2.0},
    ]
    flops = executed_training_flops_per_token(config.model)
    assert loss_curve(config, rows) == [
        {"step": 3, "tokens": 300, "executed_flops": 300 * flops, "seconds": 4.0, "loss": 3.0},
        {"step": 4, "tokens": 400, "executed_flops": 400 * flops, "seconds": 6.0, "loss": 2.0},
    ]
