"""Linear maps of hidden states, with kernels as they are trained or as decoding reads them.

y = Projection((num_heads, d_head)).apply({"params": {"kernel": w, "bias": b}}, x)
y = Projection((num_heads, d_head)).apply({"params": transposed({"kernel": w, "bias": b})}, x)
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax.attention.device import current
from gptjax.config import ModelConfig
from gptjax.models import adapters
from gptjax.models.parameter_shapes import parameter

# Of up to so many tokens a product costs what reading the kernel costs.
FEW_TOKENS = 32
_MOST_PARTS = 32


def head_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Heads and their widths: of queries (H, D), keys (K, D) and values (K, V)."""
    assert config.d_head and config.d_value and config.num_kv_heads, "resolve the config first"
    return {
        "query": (config.num_heads, config.d_head),
        "key": (config.num_kv_heads, config.d_head),
        "value": (config.num_kv_heads, config.d_value),
    }


class Projection(nn.Module):
    """An affine map of the last axes of its input, which may have an adapter (`models.adapters`).

    Attributes:
      features: sizes of the axes that it puts in their place.
      init_std: of the initial kernel, a normal distribution; the bias starts at zero.
      num_axes: how many axes of the input it contracts.
    """

    features: tuple[int, ...]
    init_std: float
    num_axes: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., *in] to [..., *features] in the dtype of `x`."""
        free, inputs = x.shape[: -self.num_axes], x.shape[-self.num_axes :]
        trained = not self.has_variable("params", "transposed")
        shape = inputs + self.features
        kernel = (
            parameter(self, "kernel", self._initial_kernel, shape)
            if trained
            else self.get_variable("params", "transposed")
        ).astype(x.dtype)
        bias = parameter(self, "bias", nn.initializers.zeros, self.features).astype(x.dtype)
        if self.is_initializing():  # `init` asks for parameters alone
            return jnp.zeros((*free, *self.features), x.dtype)
        if not trained:
            y = rows_product(x.reshape(*free, -1), kernel).astype(x.dtype)
            return y.reshape(*free, *self.features) + bias.reshape((1,) * len(free) + bias.shape)
        y = affine(x, kernel, bias, self.num_axes)
        if self.has_variable("params", adapters.A):
            a, b = (
                self.get_variable("params", name).astype(x.dtype)
                for name in (adapters.A, adapters.B)
            )
            axes = tuple(range(len(free), x.ndim)), tuple(range(self.num_axes))
            y += jnp.tensordot(jax.lax.dot_general(x, a, (axes, ((), ()))), b, 1)
        return y

    def _initial_kernel(self, rng: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return self.init_std * jax.random.normal(rng, shape)


def on_one_cpu() -> bool:
    """Whether tokens may be rows of one matrix: a mesh may divide both rows and positions."""
    device = current()
    return device.platform == "cpu" and device.count == 1


def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array, num_axes: int) -> jax.Array:
    """Maps x [..., *in] by kernel [*in, *out] and adds bias [*out]; `in` are `num_axes` axes.

    On one CPU its gradients are products of matrices of rows, that of the kernel x^T g. JAX's own
    is (g^T x)^T, for which XLA's CPU compiler first copies g into its transpose, and once more for
    the sum that is the bias's. Figures are in `docs/log.md`.
    """
    if on_one_cpu():
        return _affine_by_rows(x, kernel, bias, num_axes)
    return _affine(x, kernel, bias, num_axes)


def _affine(x: jax.Array, kernel: jax.Array, bias: jax.Array, num_axes: int) -> jax.Array:
    free = x.ndim - num_axes
    axes = tuple(range(free, x.ndim)), tuple(range(num_axes))
    y = jax.lax.dot_general(x, kernel, (axes, ((), ())))
    return y + bias.reshape((1,) * free + bias.shape)


_affine_by_rows = jax.custom_vjp(_affine, nondiff_argnums=(3,))


def _affine_forward(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, num_axes: int
) -> tuple[jax.Array, Any]:
    return _affine(x, kernel, bias, num_axes), (x, kernel)


def _affine_backward(num_axes: int, residuals: Any, g: jax.Array) -> tuple[jax.Array, ...]:
    x, kernel = residuals
    width = math.prod(kernel.shape[:num_axes])
    rows, g_rows = x.reshape(-1, width), g.reshape(-1, kernel.size // width)
    x_bar = _contracted(g_rows, kernel.reshape(width, -1), 1, 1)
    kernel_bar = _contracted(rows, g_rows, 0, 0)
    bias_bar = jax.lax.reduce_sum(g_rows, (0,)).reshape(kernel.shape[num_axes:])
    return x_bar.reshape(x.shape), kernel_bar.reshape(kernel.shape), bias_bar


_affine_by_rows.defvjp(_affine_forward, _affine_backward)


def transposed(params: Any) -> Any:
    """A tree of parameters with the kernel of every `Projection` in it as a matrix [out, in]."""
    if not isinstance(params, dict):
        return params
    if "kernel" not in params:
        return {name: transposed(of_part) for name, of_part in params.items()}
    bias = params["bias"]
    kernel = adapters.merged_kernel(params)
    return {"transposed": kernel.reshape(-1, bias.size).T, "bias": bias}


def rows_product(x: jax.Array, rows: jax.Array) -> jax.Array:
    """The dot products of x [..., E] with each of rows [N, E], as float32 [..., N].

    Where `x` has 16 bits the gradient is rounded to its dtype before it is multiplied, so that the
    two products of the backward pass have operands of 16 bits and add up in float32, as this one.
    """
    return _rows_product(x, rows) if x.dtype == jnp.float32 else _short_rows_product(x, rows)


def _rows_product(x: jax.Array, rows: jax.Array) -> jax.Array:
    """Of few tokens a CPU reads `rows` a quarter to a half faster in parts, one product each.

    XLA then neither packs them first nor leaves them to one core. Figures are in `docs/log.md`.
    """
    num_tokens = math.prod(x.shape[:-1])
    parts = next((n for n in range(2, _MOST_PARTS) if rows.shape[0] % n == 0), 1)
    if num_tokens > FEW_TOKENS and x.dtype == jnp.float32 and on_one_cpu():
        return _many_rows_product(x.reshape(num_tokens, -1), rows).reshape(*x.shape[:-1], -1)
    if parts == 1 or num_tokens > FEW_TOKENS or current().platform != "cpu":
        return jnp.einsum("...e,ne->...n", x, rows, preferred_element_type=jnp.float32)
    tokens = jnp.broadcast_to(x.reshape(1, num_tokens, -1), (parts, num_tokens, x.shape[-1]))
    split = rows.reshape(parts, -1, rows.shape[-1])
    y = jnp.einsum("pne,pte->pnt", split, tokens, preferred_element_type=jnp.float32)
    return y.transpose(2, 0, 1).reshape(*x.shape[:-1], -1)


def _contracted(x: jax.Array, y: jax.Array, x_axis: int, y_axis: int) -> jax.Array:
    return jax.lax.dot_general(x, y, (((x_axis,), (y_axis,)), ((), ())))


@jax.custom_vjp
def _many_rows_product(x: jax.Array, rows: jax.Array) -> jax.Array:
    """x [M, E] and rows [N, E] to [M, N]; the gradient of rows is g^T x, as that of `affine`."""
    return _contracted(x, rows, 1, 1)


_many_rows_product.defvjp(
    lambda x, rows: (_contracted(x, rows, 1, 1), (x, rows)),
    lambda kept, g: (_contracted(g, kept[1], 1, 0), _contracted(g, kept[0], 0, 0)),
)


_short_rows_product = jax.custom_vjp(_rows_product)


def _short_rows_backward(kept: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, rows = kept
    g = g.astype(x.dtype)
    x_bar = jnp.einsum("...n,ne->...e", g, rows, preferred_element_type=jnp.float32)
    rows_bar = jnp.einsum("...n,...e->ne", g, x, preferred_element_type=jnp.float32)
    return x_bar.astype(x.dtype), rows_bar.astype(rows.dtype)


_short_rows_product.defvjp(
    lambda x, rows: (_rows_product(x, rows), (x, rows)), _short_rows_backward
)
