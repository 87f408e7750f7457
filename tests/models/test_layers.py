"""A layer against the formulas written out in NumPy, one query and head at a time."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.attention import parse
from gptjax.models.layers import ACTIVATIONS, Block, LayerNorm


def layer_norm(x, params, epsilon):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * params["scale"] + params["bias"]


def mixed(x, params, window):
    """Attention of one sequence [T, E] to the last `window` positions."""
    project = {
        name: np.einsum("te,ehd->thd", x, params[name]["kernel"]) + params[name]["bias"]
        for name in ("query", "key", "value")
    }
    q, k, v = project["query"], project["key"], project["value"]
    length, num_heads, d_head = q.shape
    grouped = num_heads // k.shape[1]
    out = np.zeros_like(x) + params["out"]["bias"]
    for t in range(length):
        seen = slice(max(0, t - window + 1), t + 1)
        for head in range(num_heads):
            scores = k[seen, head // grouped] @ q[t, head] / math.sqrt(d_head)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out[t] += weights @ v[seen, head // grouped] @ params["out"]["kernel"][head]
    return out


def fed_forward(x, params, activation):
    hidden = activation(x @ params["up"]["kernel"] + params["up"]["bias"])
    return hidden @ params["down"]["kernel"] + params["down"]["bias"]


def gelu_tanh(x):
    """Source: arXiv 1606.08415, section 2."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


ORACLES = {
    "gelu_tanh": gelu_tanh,
    "gelu": gelu,
    "gelu_sigmoid": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.maximum(x, 0),
}


@pytest.mark.parametrize(
    "norm, activation, num_kv_heads, window, d_value",
    [
        ("pre", "gelu_tanh", 4, 7, None),
        ("post", "gelu", 2, 3, 10),
        ("pre", "relu", 1, 1, 6),
        ("pre", "gelu_sigmoid", 2, 4, 3),
    ],
)
def test_a_block_equals_its_formulas(make_config, norm, activation, num_kv_heads, window, d_value):
    config = make_config(
        num_heads=4,
        num_kv_heads=num_kv_heads,
        d_head=6,
        d_value=d_value,
        d_ff=20,
        norm=norm,
        activation=activation,
        layer_norm_epsilon=0.01,
    )
    block = Block(config, parse(f"banded(window={window})")[0])
    x = np.random.default_rng(0).normal(size=(2, 7, 16)).astype(np.float32)
    abstract = jax.eval_shape(block.init, jax.random.key(2), x)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: jax.device_put(rng.normal(0, 0.4, leaf.shape).astype(np.float32)), abstract
    )
    ours, _ = jax.jit(block.apply)({"params": params}, x)

    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for row, given in zip(np.asarray(ours), np.asarray(x, np.float64), strict=True):

        def attention_norm(h):
            return layer_norm(h, p["attention_norm"], 0.01)

        def feed_forward_norm(h):
            return layer_norm(h, p["feed_forward_norm"], 0.01)

        if norm == "pre":
            h = given + mixed(attention_norm(given), p["attention"], window)
            h = h + fed_forward(feed_forward_norm(h), p["feed_forward"], ORACLES[activation])
        else:
            h = attention_norm(given + mixed(given, p["attention"], window))
            h = feed_forward_norm(h + fed_forward(h, p["feed_forward"], ORACLES[activation]))
        np.testing.assert_allclose(row, h, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = np.linspace(-6, 6, 101)
    np.testing.assert_allclose(
        jax.jit(ACTIVATIONS[name])(x.astype(np.float32)), ORACLES[name](x), atol=1e-6
    )


def test_layer_norm_in_bfloat16_takes_its_mean_in_float32(make_config):
    config = make_config()
    norm = LayerNorm(config)
    x = (100 + np.random.default_rng(0).normal(size=(3, 4096))).astype(jnp.bfloat16)
    params = {"scale": np.ones(4096, np.float32), "bias": np.zeros(4096, np.float32)}
    out: Any = jax.jit(norm.apply)({"params": params}, x)
    assert out.dtype == jnp.bfloat16
    exact = layer_norm(np.asarray(x, np.float64), {"scale": 1.0, "bias": 0.0}, 1e-5)
    np.testing.assert_allclose(np.asarray(out, np.float64), exact, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_of_activations_against_differences(name):
    x = np.array([-6.0, -3.1, -1.2, -0.4, 0.3, 0.9, 1.7, 4.2])
    written, step = ORACLES[name], 1e-6
    expected = [(written(y + step) - written(y - step)) / (2 * step) for y in x]
    slope, given = jax.jit(jax.vmap(jax.grad(ACTIVATIONS[name]))), x.astype(np.float32)
    np.testing.assert_allclose(slope(given), expected, rtol=1e-5, atol=1e-5)
    bend = jax.jit(lambda x: jax.jvp(slope, (x,), (jnp.ones_like(x),))[1])
    bends = bend(given)  # as products with a Hessian do
    wide = 1e-3
    twice = [(written(y + wide) - 2 * written(y) + written(y - wide)) / wide**2 for y in x]
    np.testing.assert_allclose(bends, twice, rtol=1e-4, atol=1e-4)
