import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.config import ParallelismConfig
from gptjax.training.gradients import gradient_sums, on_each_device
from gptjax.training.loop import make_train_step
from gptjax.training.losses import cross_entropy
from gptjax.training.partitioning import make_mesh, put_batch
from gptjax.training.state import create


def _uneven(batch):
    """A batch whose rows have ever less weight, the last ones none."""
    weights = batch["loss_weights"] * (np.arange(8)[:, None] < [6, 5, 5, 4, 4, 3, 3, 0])
    return batch | {"loss_weights": weights.astype(np.float32)}


def _loss(params, batch, rng):
    """The cross-entropy of a model that sees one token, and its squares."""
    hidden = jnp.tanh(params["embedding"][batch["tokens"]] + params["bias"][None, None])
    nats = cross_entropy(hidden @ params["head"], batch["targets"]) * batch["loss_weights"]
    return jnp.sum(nats), jnp.sum(batch["loss_weights"]), {"squares": jnp.sum(jnp.square(nats))}


@pytest.fixture(scope="module")
def whole(make_batch):
    """A loss, its arguments, and its sums and gradient over the whole batch."""
    rng, shapes = np.random.default_rng(0), {"embedding": (50, 8), "bias": (8,), "head": (8, 50)}
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    arguments = params, _uneven(make_batch()), jax.random.key(0)
    return _loss, arguments, jax.jit(gradient_sums(_loss))(*arguments)


def _assert_equal_to_1e_6(found, expected):
    """Relative to norms."""
    found, expected = jax.device_get((found, expected))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(ours - theirs) <= 1e-6 * np.linalg.norm(theirs)


@pytest.mark.parametrize("accumulate", [2, 8])
def test_microbatches_add_up_to_the_batch(whole, accumulate):
    """Whatever the weight in each: in the last of eight there is none."""
    loss, arguments, expected = whole
    _assert_equal_to_1e_6(jax.jit(gradient_sums(loss, accumulate))(*arguments), expected)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_devices_add_up_to_the_batch(whole, accumulate):
    loss, (params, batch, rng), expected = whole
    mesh = make_mesh(ParallelismConfig(strategy="pmap"), jax.devices()[:4])
    sums = on_each_device(gradient_sums(loss, accumulate), mesh)
    _assert_equal_to_1e_6(jax.jit(sums)(params, put_batch(batch, mesh), rng), expected)


def test_each_microbatch_draws_bits_of_its_own():
    """Rows 0, 3, 6 are the first of three microbatches, and so on."""

    def loss(params, batch, rng):
        noise = jax.random.normal(rng, batch["x"].shape)
        total = jnp.sum(params * batch["x"] * noise)
        return total, jnp.sum(batch["x"]), {"noise": jnp.sum(noise)}

    x, key = np.arange(1.0, 10.0, dtype=np.float32), jax.random.key(3)
    sums = jax.jit(gradient_sums(loss, 3))
    found = jax.device_get(sums(jnp.float32(2), {"x": x}, key))
    (total, weight, others), gradient = found
    draw = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (3,)))
    drawn = jax.jit(draw)(np.arange(3))
    noise = np.asarray(drawn).T
    assert len(np.unique(noise)) == 9
    assert weight == 45
    np.testing.assert_allclose(gradient, np.sum(x * noise.ravel()), rtol=1e-5)
    np.testing.assert_allclose(total, 2 * gradient, rtol=1e-6)
    np.testing.assert_allclose(others["noise"], noise.sum(), rtol=1e-5)


def test_a_ramp_compiles_a_step_for_each_of_its_sizes():
    compiled = []

    def loss(params, batch, rng):
        compiled.append(len(batch["x"]))  # runs when the step is traced, that is, compiled
        return jnp.sum(params["kernel"] * batch["x"]), jnp.float32(len(batch["x"])), {}

    schedule = BatchSchedule(16, 4, ramp_start=2, ramp_tokens=400)
    sizes = [schedule.batch_size_at(step) for step in range(40)]
    assert [size for size, _ in itertools.groupby(sizes)] == [2, 4, 8, 16]
    tx = optax.sgd(0.1)
    step = make_train_step(gradient_sums(loss), tx, optax.constant_schedule(0.1))
    state = create({"kernel": jnp.zeros(())}, tx)
    for size in sizes:
        state, _ = step(state, {"x": np.ones(size, np.float32)}, 0)
    assert compiled == [2, 4, 8, 16]
