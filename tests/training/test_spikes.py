"""Skipped steps, against the norms and medians of a NumPy loop."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gptjax.training.optimizers import update
from gptjax.training.spikes import WINDOW, counts, skipping_outliers

PARAMS = {"kernel": jnp.arange(3.0), "bias": jnp.ones(2)}


def _grads(norm):
    return {"kernel": jnp.full(3, norm / 2.0), "bias": jnp.array([norm / 2.0, 0.0])}


def _steps(tx, norms, losses=None):
    """Parameters, and counts, after each step of a gradient of these norms."""
    step = jax.jit(lambda grads, state, params, loss: update(tx, grads, state, params, loss))
    params, state, seen = PARAMS, tx.init(PARAMS), []
    for i, norm in enumerate(norms):
        loss = jnp.float32(1.0 if losses is None else losses[i])
        params, state = step(_grads(norm), state, params, loss)
        seen.append((params, {name: int(count) for name, count in counts(state).items()}))
    return seen, state


def _assert_equal(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def test_an_outlier_is_above_a_multiple_of_the_median_of_what_went_before():
    """Over norms that wander by a factor of ten thousand, with outliers thrown in."""
    rng = np.random.default_rng(0)
    norms = np.exp(np.cumsum(rng.normal(size=600) * 0.1) + (rng.random(600) < 0.1) * 3.0)
    norms = norms.astype(np.float32)
    seen, _ = _steps(skipping_outliers(optax.sgd(0.1), 4.0), norms)
    skipped = 0
    for i in range(600):
        known = np.sort(norms[max(0, i - WINDOW) : i])
        enough = len(known) > WINDOW // 2
        # The norms not known yet are infinite, so that the middle one is at WINDOW // 2 anyway.
        outlier = enough and norms[i] > 4.0 * known[WINDOW // 2]
        skipped += outlier
        before = PARAMS if i == 0 else seen[i - 1][0]
        unchanged = np.array_equal(seen[i][0]["kernel"], before["kernel"])
        assert (unchanged, seen[i][1]["skipped_steps"]) == (outlier, skipped), i
    assert 20 < skipped < 100


def test_what_is_not_skipped_is_the_optimizers_own_step():
    norms = [1.0, 2.0, math.nan, 0.5, math.inf, 3.0]
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1))
    seen, state = _steps(skipping_outliers(tx, None), norms)
    plain, plain_state = _steps(tx, [norm for norm in norms if math.isfinite(norm)])
    _assert_equal(seen[-1][0], plain[-1][0])
    _assert_equal(state.inner, plain_state)
    _assert_equal(seen[2][0], seen[1][0])
    assert [count["skipped_steps"] for _, count in seen] == [0, 0, 1, 1, 2, 2]
    assert [count["nonfinite_steps"] for _, count in seen] == [0, 0, 1, 0, 1, 0]
    assert counts(plain_state) == {}


def test_a_loss_that_is_not_finite_changes_nothing_either():
    seen, state = _steps(
        skipping_outliers(optax.sgd(0.1), 2.0), [1.0] * 4, [1.0, math.nan, -math.inf, 2.0]
    )
    assert [count["nonfinite_steps"] for _, count in seen] == [0, 1, 2, 0]
    _assert_equal(seen[2][0], seen[0][0])
    assert np.isfinite(state.norms).sum() == 2


def test_gradients_that_stay_large_become_the_rule():
    norms = [1.0] * WINDOW + [100.0] * WINDOW
    seen, _ = _steps(skipping_outliers(optax.sgd(0.001), 10.0), norms)
    assert seen[-1][1]["skipped_steps"] == WINDOW // 2 + 1
    assert seen[-1][1]["nonfinite_steps"] == 0


@pytest.mark.parametrize("multiple", [None, 2.0])
def test_the_state_has_one_shape_whatever_is_skipped(multiple):
    """So that a run may be resumed with its rollbacks turned on."""
    state = skipping_outliers(optax.adam(0.1), multiple).init(PARAMS)
    other = skipping_outliers(optax.adam(0.1), None).init(PARAMS)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, other)
