import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gptjax.training.state import averaged, create, rng


def test_a_new_state_has_taken_no_steps():
    params = {"kernel": jnp.ones(3)}
    state = create(params, optax.adam(1e-3))
    assert (state.step.dtype, state.step.shape, int(state.step)) == (jnp.int32, (), 0)
    assert state.params is params
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(optax.adam(1e-3).init(params))


def test_an_average_starts_at_the_first_parameters_and_follows():
    params = {"kernel": jnp.ones(3)}
    state = create(params, optax.adam(1e-3), with_ema=True)
    np.testing.assert_array_equal(state.ema["kernel"], params["kernel"])
    assert state.ema["kernel"] is not params["kernel"]  # or a step would donate it twice
    assert state.eval_params is state.ema and create(params, optax.adam(1e-3)).eval_params is params
    expected, ema = 1.0, state.ema
    for value in (2.0, -1.0, 5.0):
        expected = 0.9 * expected + 0.1 * value
        ema = averaged(ema, {"kernel": jnp.full(3, value)}, 0.9)
    np.testing.assert_allclose(ema["kernel"], expected, rtol=1e-6)


def test_uses_of_seeds_never_share_bits_and_always_are_the_same():
    keys = {
        (seed, name): tuple(np.asarray(jax.random.key_data(rng(seed, name))).tolist())
        for seed, name in itertools.product((0, 1, 2**31 - 1), ("params", "dropout", "data"))
    }
    assert len(set(keys.values())) == 9
    again = np.asarray(jax.random.key_data(rng(1, "dropout"))).tolist()
    assert tuple(again) == keys[1, "dropout"]
