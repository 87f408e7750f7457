"""Adapters against kernels that NumPy merges: in training's forward pass and in decoding's."""

import functools

import jax
import numpy as np
import pytest

from gptjax.config import LoRAConfig
from gptjax.models.adapters import Base, joined, without_adapters
from gptjax.models.gpt import GPT
from gptjax.models.transformer import unstacked
from gptjax.training.lora import trained_params
from tests.support.merging import merged

TOKENS = np.random.default_rng(1).integers(0, 53, (2, 12)).astype(np.int32)


@pytest.fixture(scope="module")
def adapted(make_config, init):
    """A model with grouped heads, its parameters, and adapters of rank 3 before any step."""
    config = make_config(num_kv_heads=1, d_value=6)
    params = init(config)
    lora = LoRAConfig(rank=3, targets="attention,feed_forward")
    trained = jax.jit(functools.partial(trained_params, lora))(params, jax.random.key(0))
    return GPT(config), params, trained


def test_before_the_first_step_nothing_changes(adapted):
    """To the bit: B is zero. A is not, or nothing would ever be learned."""
    model, params, trained = adapted
    apply = jax.jit(model.apply)
    expected = apply({"params": params}, TOKENS)
    found = apply({"params": joined(trained, Base(params, 2.0))}, TOKENS)
    np.testing.assert_array_equal(found, expected)
    a = trained["trunk"]["layers"]["attention"]["out"]["lora_a"]
    assert a.shape == (2, 2, 6, 3) and 0.2 < np.abs(a).max() * 12**0.5 <= 1.0


def test_logits_are_those_of_merged_kernels(adapted):
    model, params, trained = adapted
    rng = np.random.default_rng(0)
    trained = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype("float32"), trained)
    both = joined(trained, Base(params, 0.5))
    apply = jax.jit(model.apply)
    expected = np.asarray(apply({"params": merged(params, trained, 0.5)}, TOKENS))
    np.testing.assert_allclose(apply({"params": both}, TOKENS), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected - apply({"params": params}, TOKENS)).max() > 0.1
    jax.tree.map(np.testing.assert_array_equal, without_adapters(both), params)

    cache, positions = model.init_cache(2, 12), np.tile(np.arange(12, dtype=np.int32), (2, 1))

    @jax.jit
    def decode(params):
        of_cache = {"positions": positions, "cache": cache}
        return model.apply({"params": params}, TOKENS, **of_cache, method="decode")[0]

    decoded = decode(unstacked(both))
    np.testing.assert_allclose(decoded, expected, rtol=1e-4, atol=1e-4)
