"""A model, its loss, the optimizer and the step together: it learns, or nothing of nothing."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import ExperimentConfig, OptimizerConfig, batch_schedule, resolve
from gptjax.models.gpt import GPT
from gptjax.training.gradients import gradient_sums
from gptjax.training.loop import make_train_step
from gptjax.training.losses import language_model
from gptjax.training.optimizers import learning_rate, make_optimizer
from gptjax.training.state import create


@pytest.mark.slow
def test_a_gpt_starts_at_chance_and_learns_a_batch_by_heart(make_model, make_batch):
    model = GPT(make_model(num_layers=1))
    optimizer = OptimizerConfig(learning_rate=0.02, schedule="constant", weight_decay=0.0)
    config = resolve(ExperimentConfig(optimizer=optimizer))
    tx = make_optimizer(
        optimizer, schedule := learning_rate(config.optimizer, batch_schedule(config))
    )
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    sums = gradient_sums(language_model(model))
    state, train_step = create(params, tx), make_train_step(sums, tx, schedule)
    losses = []
    for _ in range(60):
        state, metrics = train_step(state, make_batch(), 0)
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(math.log(50), rel=0.02)
    assert losses[-1] < 0.2
    assert int(state.step) == 60

    before = jax.device_get(create(state.params, tx).params)
    nothing = {**make_batch(), "loss_weights": np.zeros((8, 8), np.float32)}
    fresh, metrics = train_step(create(state.params, tx), nothing, 0)
    assert (metrics["loss"], metrics["grad_norm"]) == (0, 0)  # not 0 / 0
    jax.tree.map(np.testing.assert_array_equal, fresh.params, before)
