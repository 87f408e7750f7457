"""Dropout: where it acts, that it keeps the mean, and that layers do not share it."""

import jax
import numpy as np
import pytest

from gptjax.models.gpt import GPT
from gptjax.models.transformer import Transformer

RATES = {"embedding_dropout": 0.1, "attention_dropout": 0.2, "residual_dropout": 0.3}


def recorder():
    """A `constrain` and the list of residual streams that pass it: the input, then each layer's."""
    seen: list[np.ndarray] = []

    def constrain(x, axes):
        if axes == ("batch", "sequence", "embed"):
            jax.debug.callback(lambda value: seen.append(np.asarray(value)), x, ordered=True)
        return x

    return constrain, seen


def streams(config, *, out_bias=0.0, value_bias=0.0, key=0):
    """Residual streams of a trunk of zeros, but for the biases of attention, with dropout on."""
    constrain, seen = recorder()
    trunk = Transformer(config, constrain=constrain)
    x = np.zeros((64, 12, config.d_model), np.float32)
    params = jax.eval_shape(trunk.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), params)
    mix = params["layers"]["attention"]
    mix["out"]["bias"] += out_bias
    mix["value"]["bias"] += value_bias
    mix["out"]["kernel"] += np.eye(config.d_model, dtype=np.float32).reshape(
        1, -1, config.d_head, config.d_model
    )
    rngs = {"dropout": jax.random.key(key)}
    apply = jax.jit(trunk.apply, static_argnames="deterministic")
    apply({"params": params}, x, deterministic=False, rngs=rngs)
    jax.effects_barrier()
    return seen


def test_residual_dropout_scales_what_it_keeps_and_differs_from_layer_to_layer(make_config):
    config = make_config(residual_dropout=0.25)
    after = streams(config, out_bias=1.0)
    assert len(after) == 2
    added = [after[0], after[1] - after[0]]
    for branch in added:
        kept = branch > 0
        np.testing.assert_allclose(branch[kept], 1 / 0.75, rtol=1e-6)
        assert kept.mean() == pytest.approx(0.75, abs=0.02)
    both = (added[0] > 0) & (added[1] > 0)
    assert both.mean() == pytest.approx(0.75**2, abs=0.02)


def test_attention_dropout_keeps_the_mean_and_differs_from_layer_to_layer(make_config):
    config = make_config(attention_dropout=0.25)
    after = streams(config, value_bias=1.0)
    added = [after[0], after[1] - after[0]]
    for branch in added:
        # Zero scores: a query of position p averages p + 1 values of one.
        np.testing.assert_allclose(np.unique(branch[:, 0].round(5)), [0, 1.33333])
        np.testing.assert_allclose(branch.mean((0, 2)), 1.0, atol=0.2)
        assert branch.mean() == pytest.approx(1.0, abs=0.02)
    assert not np.array_equal(added[0], added[1])


def test_embedding_dropout_scales_what_it_keeps(make_config, init, tokens):
    config = make_config(embedding_dropout=0.25, d_model=128, num_layers=1)
    params = jax.device_get(init(config))
    constrain, seen = recorder()
    apply = jax.jit(GPT(config, constrain=constrain).apply, static_argnames="deterministic")
    rngs = {"dropout": jax.random.key(0)}
    apply({"params": params}, tokens, deterministic=False, rngs=rngs)
    jax.effects_barrier()
    embedded = params["token_embedding"][tokens] + params["position_embedding"][None]
    kept = seen[0] != 0
    np.testing.assert_allclose(seen[0][kept], embedded[kept] / 0.75, rtol=1e-5)
    assert kept.mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("place", RATES)
def test_each_place_drops_by_itself(make_config, init, tokens, logits, place):
    config = make_config(num_layers=1, **{place: RATES[place]})
    params = init(config)
    plain = logits(make_config(num_layers=1), params, tokens)
    dropped, again, otherwise = (
        logits(config, params, tokens, jax.random.key(key)) for key in (0, 0, 1)
    )
    np.testing.assert_array_equal(dropped, again)
    assert np.abs(dropped - plain).max() > 1e-2
    assert np.abs(dropped - otherwise).max() > 1e-2


def test_no_place_drops_when_deterministic(make_config, init, tokens, logits):
    config = make_config(num_layers=1, **RATES)
    params = init(config)
    plain = logits(make_config(num_layers=1), params, tokens)
    np.testing.assert_array_equal(logits(config, params, tokens), plain)


@pytest.mark.slow
def test_dropout_does_not_depend_on_how_the_specification_is_written(
    make_config, init, monkeypatch
):
    """A scan over three layers, against a cycle of two and a remainder."""
    monkeypatch.setattr("gptjax.models.transformer.UNROLLED_LAYERS", 0)
    x = np.random.default_rng(0).normal(size=(2, 12, 16)).astype(np.float32)
    rates = {"attention_dropout": 0.2, "residual_dropout": 0.3}

    def dropped(specification):
        config = make_config(attention=specification, num_layers=3, **rates)
        apply = jax.jit(Transformer(config).apply, static_argnames="deterministic")
        variables = {"params": init(config)["trunk"]}
        return apply(variables, x, deterministic=False, rngs={"dropout": jax.random.key(9)})[0]

    cycle = dropped("dense,banded(window=12)")
    np.testing.assert_allclose(cycle, dropped("dense"), rtol=1e-5, atol=1e-5)
