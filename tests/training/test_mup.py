"""Maximal update parametrization (arXiv 2203.03466): its scales and rates, the coordinate check."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.config import ExperimentConfig, ModelConfig, OptimizerConfig, resolve
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.training.losses import cross_entropy
from gptjax.training.optimizers import learning_rate, make_optimizer, update
from gptjax.training.parameters import path_of
from tests.support.params import random_params

SMALL = ModelConfig(
    vocab_size=31, vocab_multiple=1, context_length=8, num_layers=1, num_heads=2, d_model=32
)
TOKENS = jnp.array(np.random.default_rng(0).integers(0, 31, (4, 8)), jnp.int32)
READ_WIDTH = {f"trunk/layers/attention/{name}/kernel" for name in ("query", "key", "value", "out")}
READ_WIDTH |= {f"trunk/layers/feed_forward/{name}/kernel" for name in ("up", "down")}


def mup(config=SMALL, **changes):
    return dataclasses.replace(config, parametrization="mup", **changes)


def paths(tree):
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_of(keys): leaf for keys, leaf in leaves}


def tx_of(config, rate, decay=0.0):
    settings = OptimizerConfig(
        learning_rate=rate, schedule="constant", weight_decay=decay, clip_norm=None
    )
    schedule = learning_rate(settings, BatchSchedule(1, 8))
    return make_optimizer(settings, schedule, config.width_multiplier)


def test_a_model_is_the_standard_one_with_other_numbers():
    """Scores of 1/d_head, and logits over the width: both can be folded into parameters."""
    wide = SMALL.resolved()
    params = random_params(GPT(wide))
    folded = jax.tree.map(lambda leaf: leaf, params)
    query = folded["trunk"]["layers"]["attention"]["query"]
    for name in query:
        query[name] = query[name] * np.float32((64 / 16) ** 0.5)  # 16^-0.5 times this is 8 / 16
    norm = folded["trunk"]["final_norm"]
    for name in norm:
        norm[name] = norm[name] / np.float32(32 / 128)
    ours, theirs = (
        jax.jit(GPT(config).apply)({"params": each}, TOKENS)
        for config, each in ((mup(), params), (wide, folded))
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_initial_deviations_are_those_of_table_8():
    narrow, wide = (
        paths(parameter_shapes(GPT(mup(d_model=width, num_heads=width // 16)), TOKENS))
        for width in (32, 512)
    )
    assert narrow.keys() == wide.keys() and narrow.keys() > READ_WIDTH
    model = GPT(mup(d_model=256, d_ff=256))
    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]
    for path, leaf in paths(params).items():
        if path.endswith(("kernel", "embedding")):
            residual = 2**-0.5 if "/out/" in path or "/down/" in path else 1.0
            expected = 0.02 * residual * ((256 / 128) ** -0.5 if path in READ_WIDTH else 1.0)
            assert np.std(leaf) == pytest.approx(expected, rel=0.05), path


def test_rates_of_what_reads_the_width_are_divided_by_it_and_decay_is_not():
    config = mup(d_model=256, num_heads=4, d_ff=256).resolved()
    shapes = parameter_shapes(GPT(config), TOKENS)
    rng = np.random.default_rng(1)
    params, grads = (
        jax.tree.map(lambda leaf: np.float32(rng.normal(size=leaf.shape)), shapes) for _ in range(2)
    )
    tx = tx_of(config, 0.01, decay=0.1)
    state = jax.eval_shape(tx.init, params)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    new, _ = jax.jit(lambda *given: update(tx, *given))(grads, zeros, params, jnp.float32(0))
    before, slopes = paths(params), paths(grads)
    for path, leaf in paths(new).items():
        adam = slopes[path] / (abs(slopes[path]) + 1e-8)  # of a first update
        decays = path.endswith(("kernel", "embedding"))
        moved = adam / (2.0 if path in READ_WIDTH else 1.0) + 0.1 * decays * before[path]
        np.testing.assert_allclose(leaf, before[path] - 0.01 * moved, atol=2e-6, err_msg=path)


def test_what_muP_has_no_rates_for_is_refused():
    config = ExperimentConfig(model=mup(), optimizer=OptimizerConfig(name="muon"))
    with pytest.raises(ValueError, match=r"got mup with optimizer.name=muon, expected standard"):
        resolve(config)
    with pytest.raises(ValueError, match=r"parametrization: got mup with trunk=lstm"):
        mup(trunk="lstm", positions="none").resolved()


def sizes_after(config, rate, steps):
    """Root mean squares of logits, and of their change, after a few steps of AdamW."""
    model, tx = GPT(config), tx_of(config, rate)

    @jax.jit
    def step(params, state):
        def loss(params):
            logits = model.apply({"params": params}, TOKENS[:, :-1])
            return jnp.mean(cross_entropy(logits, TOKENS[:, 1:]))

        value, grads = jax.value_and_grad(loss)(params)
        return update(tx, grads, state, params, value)

    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]
    first, state = model.apply({"params": params}, TOKENS), tx.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    last = model.apply({"params": params}, TOKENS)
    return float(jnp.sqrt(jnp.mean((last - first) ** 2)))


@pytest.mark.slow
def test_the_coordinate_check():
    """Changes of the logits after three steps keep their size over widths; else they grow."""
    slopes, widths = {}, (32, 128, 512)
    for name in ("standard", "mup"):
        found = [
            sizes_after(
                dataclasses.replace(
                    SMALL, parametrization=name, d_model=width, num_heads=width // 16
                ),
                0.01,
                3,
            )
            for width in widths
        ]
        slopes[name] = np.polyfit(np.log(widths), np.log(found), 1)[0]
    assert abs(slopes["mup"]) < 0.2 and slopes["standard"] > 0.6, slopes
