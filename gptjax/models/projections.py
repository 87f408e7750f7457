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
        if self.has_variable("params", "transposed"):
            kernel = self.get_variable("params", "transposed").astype(x.dtype)
            y = rows_product(x.reshape(*free, -1), kernel).astype(x.dtype)
            y = y.reshape(*free, *self.features)
        else:
            kernel = parameter(self, "kernel", self._initial_kernel, inputs + self.features)
            axes = tuple(range(len(free), x.ndim)), tuple(range(self.num_axes))
            y = jax.lax.dot_general(x, kernel.astype(x.dtype), (axes, ((), ())))
            if self.has_variable("params", adapters.A):
                a, b = (
                    self.get_variable("params", name).astype(x.dtype)
                    for name in (adapters.A, adapters.B)
                )
                y += jnp.tensordot(jax.lax.dot_general(x, a, (axes, ((), ()))), b, 1)
        bias = parameter(self, "bias", nn.initializers.zeros, self.features).astype(x.dtype)
        return y + bias.reshape((1,) * len(free) + self.features)

    def _initial_kernel(self, rng: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return self.init_std * jax.random.normal(rng, shape)


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

    Of few tokens a CPU reads `rows` a quarter to a half faster in parts, one matrix product each:
    XLA then neither packs them first nor leaves them to one core. Figures are in `docs/log.md`.
    """
    num_tokens = math.prod(x.shape[:-1])
    parts = next((n for n in range(2, _MOST_PARTS) if rows.shape[0] % n == 0), 1)
    if parts == 1 or num_tokens > FEW_TOKENS or current().platform != "cpu":
        return jnp.einsum("...e,ne->...n", x, rows, preferred_element_type=jnp.float32)
    tokens = jnp.broadcast_to(x.reshape(1, num_tokens, -1), (parts, num_tokens, x.shape[-1]))
    split = rows.reshape(parts, -1, rows.shape[-1])
    y = jnp.einsum("pne,pte->pnt", split, tokens, preferred_element_type=jnp.float32)
    return y.transpose(2, 0, 1).reshape(*x.shape[:-1], -1)
