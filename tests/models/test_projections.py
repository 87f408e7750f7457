"""Linear maps against loops, against flax's, and as decoding reads them against as trained."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gptjax.models.projections import FEW_TOKENS, Projection, rows_product, transposed
from tests.support.tiers import tiered

ROWS = [1, 7, 37, 48, 31 * 37]  # in 1, 7, 1, 2, 31 parts
FEW_OR_MANY = [(1,), (2, 3), (FEW_TOKENS,), (3, 11)]


@pytest.mark.parametrize(
    ("num_rows", "tokens"),
    tiered(
        itertools.product(ROWS, FEW_OR_MANY),
        [*((rows, (2, 3)) for rows in ROWS), *((48, tokens) for tokens in FEW_OR_MANY)],
    ),
)
def test_rows_product_is_a_dot_product_of_each_row(num_rows, tokens):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*tokens, 5)).astype(np.float32)
    rows = rng.normal(size=(num_rows, 5)).astype(np.float32)
    expected = np.zeros((*tokens, num_rows))
    for token in np.ndindex(*tokens):
        for n, row in enumerate(rows):
            expected[(*token, n)] = (x[token].astype(float) * row).sum()
    y = jax.jit(rows_product)(x, rows)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens", [2, FEW_TOKENS + 1])
def test_rows_product_of_sixteen_bits_adds_up_in_float32(tokens):
    rng = np.random.default_rng(1)
    x = jax.device_put(rng.normal(size=(tokens, 512)).astype(jnp.bfloat16))
    rows = jax.device_put(rng.normal(size=(6, 512)).astype(jnp.bfloat16))
    expected = np.asarray(x, np.float64) @ np.asarray(rows, np.float64).T
    y = jax.jit(rows_product)(x, rows)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


SHAPES = [((6,), (8,), 1), ((6,), (3, 5), 1), ((3, 5), (7,), 2), ((2, 3), (4, 2), 2)]


def made(inputs, features, num_axes, tokens):
    rng = np.random.default_rng(0)
    x, kernel, bias = (
        jax.device_put(rng.normal(size=shape).astype(np.float32))
        for shape in ((*tokens, *inputs), inputs + features, features)
    )
    return Projection(features, 0.5, num_axes), x, {"kernel": kernel, "bias": bias}


@pytest.mark.parametrize("tokens", [(3, 1), (2, FEW_TOKENS)])
@pytest.mark.parametrize(("inputs", "features", "num_axes"), tiered(SHAPES, SHAPES[1::2]))
def test_kernels_give_the_same_trained_and_transposed(inputs, features, num_axes, tokens):
    module, x, params = made(inputs, features, num_axes, tokens)
    flat = np.asarray(x, np.float64).reshape(-1, int(np.prod(inputs)))
    kernel = np.asarray(params["kernel"], np.float64).reshape(flat.shape[1], -1)
    expected = (flat @ kernel).reshape(*tokens, *features) + np.asarray(params["bias"])
    turned = transposed({"up": params})["up"]
    assert turned["transposed"].shape == kernel.T.shape
    for given in (params, turned):
        y: Any = jax.jit(module.apply)({"params": given}, x)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
        short: Any = jax.eval_shape(module.apply, {"params": given}, x.astype(jnp.bfloat16))
        assert short.dtype == jnp.bfloat16


@pytest.mark.parametrize(("inputs", "features", "num_axes"), tiered(SHAPES, SHAPES[1::2]))
def test_initial_values_are_those_of_flax(inputs, features, num_axes):
    module, x, _ = made(inputs, features, num_axes, (3,))
    theirs = nn.DenseGeneral(
        features, axis=tuple(range(-num_axes, 0)), kernel_init=nn.initializers.normal(0.5)
    )
    ours = module.init(jax.random.key(3), x)["params"]
    jax.tree.map(
        np.testing.assert_array_equal, ours, dict(theirs.init(jax.random.key(3), x)["params"])
    )


@pytest.fixture(params=[True, False], ids=["one CPU", "others"])
def alone(request, monkeypatch):
    """The forms of products on one CPU, and those of meshes and accelerators."""
    monkeypatch.setattr("gptjax.models.projections.on_one_cpu", lambda: request.param)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("inputs", "features", "num_axes"), tiered(SHAPES, SHAPES[1::2]))
def test_gradients_are_those_of_sums_over_tokens(inputs, features, num_axes):
    module, x, params = made(inputs, features, num_axes, (2, 3))
    g = np.random.default_rng(2).normal(size=(2, 3, *features))

    def loss(params, x):
        return jnp.sum(module.apply({"params": params}, x) * g.astype(np.float32))

    bars, x_bar = jax.jit(jax.grad(loss, (0, 1)))(params, x)
    rows, g_rows = np.asarray(x, np.float64).reshape(6, -1), g.reshape(6, -1)
    kernel = np.asarray(params["kernel"], np.float64).reshape(rows.shape[1], -1)
    expected = [np.zeros(kernel.shape), np.zeros(kernel.shape[1]), np.zeros(rows.shape)]
    for token in range(6):
        expected[0] += np.outer(rows[token], g_rows[token])
        expected[1] += g_rows[token]
        expected[2][token] = kernel @ g_rows[token]
    for bar, of in zip((bars["kernel"], bars["bias"], x_bar), expected, strict=True):
        np.testing.assert_allclose(bar, of.reshape(bar.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("alone")
def test_gradients_of_sixteen_bits_keep_their_dtype():
    module, x, params = made((6,), (3, 5), 1, (2, 3))

    def loss(params, x):
        return jnp.sum(module.apply({"params": params}, x).astype(jnp.float32))

    bars, x_bar = jax.jit(jax.grad(loss, (0, 1)))(params, x.astype(jnp.bfloat16))
    assert x_bar.dtype == jnp.bfloat16
    assert all(bar.dtype == jnp.float32 for bar in jax.tree.leaves(bars))


@pytest.mark.usefixtures("alone")
def test_gradients_of_a_product_with_rows():
    rng = np.random.default_rng(3)
    x, rows = rng.normal(size=(3, FEW_TOKENS, 5)), rng.normal(size=(7, 5))
    g = rng.normal(size=(3, FEW_TOKENS, 7))
    given = jax.device_put(x.astype(np.float32)), jax.device_put(rows.astype(np.float32))
    bars = jax.jit(jax.grad(lambda *given: jnp.sum(rows_product(*given) * g), (0, 1)))(*given)
    expected = np.zeros(x.shape), np.zeros(rows.shape)
    for i, j in np.ndindex(3, FEW_TOKENS):
        expected[0][i, j] = g[i, j] @ rows
        expected[1][:] += np.outer(g[i, j], x[i, j])
    for bar, of in zip(bars, expected, strict=True):
        np.testing.assert_allclose(bar, of, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tokens", [2, FEW_TOKENS + 1])
def test_gradients_of_sixteen_bits_are_float32_sums_of_a_rounded_gradient(tokens):
    """Off by one rounding, 2^-8, of each number of the gradient, and one of each result."""
    rng = np.random.default_rng(4)
    x = jax.device_put(rng.normal(size=(tokens, 512)).astype(jnp.bfloat16))
    rows = jax.device_put(rng.normal(size=(768, 512)).astype(jnp.bfloat16))
    g = rng.normal(size=(tokens, 768)).astype(np.float32)
    bars = jax.jit(jax.grad(lambda *given: jnp.sum(rows_product(*given) * g), (0, 1)))(x, rows)
    wide_x, wide_rows = np.asarray(x, np.float64), np.asarray(rows, np.float64)
    for bar, left, right in zip(bars, (g, g.T), (wide_rows, wide_x), strict=True):
        assert bar.dtype == jnp.bfloat16
        exact, most = left.astype(float) @ right, np.abs(left).astype(float) @ np.abs(right)
        off = np.abs(np.asarray(bar, np.float64) - exact)
        assert (off <= 2.0**-8 * (np.abs(exact) + most) * 1.01).all()
        # Sums of bfloat16 would be off by much more than what independent roundings add up to.
        assert np.sqrt(np.mean(off**2)) < 2.0**-8 * np.sqrt(np.mean(exact**2)) * 1.5
