import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gptjax.training.state import create, rng


def test_a_new_state_has_taken_no_steps():
    params = {"kernel": jnp.ones(3)}
    state = create(params, optax.adam(1e-3))
    assert (state.step.dtype, state.step.shape, int(state.step)) == (jnp.int32, (), 0)
    assert state.params is params
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(optax.adam(1e-3).init(params))


def test_uses_of_seeds_never_share_bits_and_always_are_the_same():
    keys = {
        (seed, name): tuple(np.asarray(jax.random.key_data(rng(seed, name))).tolist())
        for seed, name in itertools.product((0, 1, 2**31 - 1), ("params", "dropout", "data"))
    }
    assert len(set(keys.values())) == 9
    again = np.asarray(jax.random.key_data(rng(1, "dropout"))).tolist()
    assert tuple(again) == keys[1, "dropout"]
