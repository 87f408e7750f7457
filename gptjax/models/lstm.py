"""The LSTM: a trunk that reads a text from left to right, and keeps a state instead of attention.

Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000. GPT-1 (Radford et al.
2018, section 5 and table 5) puts one layer of 2,048 units in the Transformer's place: with a tied
table of 40,478 tokens it has as many parameters, 116.5 million.

    hidden, _ = LSTM(config).apply({"params": params}, x)
"""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax.config import ModelConfig
from gptjax.models.layers import Configured, identity, sizes
from gptjax.pytrees import pytree

GATES = 4  # input, forget, cell, output, in this order
UNROLLED_TOKENS = 8  # of the loop over a text


@pytree
@dataclasses.dataclass(frozen=True)
class LSTMState:
    """What one layer keeps of the tokens before: its last output and its cell, float32 [B, E]."""

    hidden: jax.Array
    cell: jax.Array


def init_states(config: ModelConfig, batch: int) -> tuple[LSTMState, ...]:
    """The states before the first token of `batch` texts, one a layer."""
    shape = (batch, config.d_model)  # arrays of their own, since they are donated
    return tuple(
        LSTMState(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32))
        for _ in range(config.num_layers)
    )


class LSTM(Configured):
    """`num_layers` layers of `d_model` units, in the place of a `Transformer`.

    Dropout falls on what a layer puts out, not on what goes from token to token (Zaremba et al.
    2014, arXiv 1409.2329).

    Attributes:
      attend: is not called.
      constrain: as of `GPT`.
    """

    attend: Callable[..., jax.Array] | None = None
    constrain: Callable[..., jax.Array] = identity

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        segment_ids: jax.Array | None = None,
        positions: jax.Array | None = None,
        cache: tuple[LSTMState, ...] | None = None,
        deterministic: bool = True,
    ) -> tuple[jax.Array, tuple[LSTMState, ...] | None]:
        """Maps [B, T, E] to hidden states [B, T, E] and the states T tokens later.

        Args:
          x: embeddings, in the dtype of the matrix products; gates and states are float32.
          segment_ids: int32 [B, T]; the state is empty where another segment begins.
          positions: int32 [B, T], read with a cache only: negative ones are padding, which leaves
            the state as it is.
          cache: from `init_states`, or None for whole texts.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.
        """
        c = self.config
        layers = self.param("layers", _init_layers, c)
        if self.is_initializing():  # `init` asks for parameters alone
            return x, cache
        states = init_states(c, x.shape[0]) if cache is None else cache
        begins = jnp.zeros(x.shape[:2], bool)
        if segment_ids is not None:
            begins = begins.at[:, 1:].set(segment_ids[:, 1:] != segment_ids[:, :-1])
        real = jnp.ones(x.shape[:2], bool)
        if cache is not None and positions is not None:
            real = positions >= 0
        dropout = nn.Dropout(c.residual_dropout)
        ended, seen = [], []
        for i, state in enumerate(states):
            x, state = _layer(jax.tree.map(operator.itemgetter(i), layers), x, state, begins, real)
            x = self.constrain(x, ("batch", "sequence", "embed"))
            seen.append(sizes(x))
            x = dropout(x, deterministic=deterministic)
            ended.append(state)
        if self.is_mutable_collection("statistics"):
            self.sow("statistics", "layers", jax.tree.map(lambda *each: jnp.stack(each), *seen))
        return x, None if cache is None else tuple(ended)


def _layer(
    params: Any, x: jax.Array, state: LSTMState, begins: jax.Array, real: jax.Array
) -> tuple[jax.Array, LSTMState]:
    """Outputs [B, T, E] of one layer, and its state after the last token."""
    kernel = params["recurrent"]["kernel"].astype(x.dtype)
    of_inputs = x @ params["input"]["kernel"].astype(x.dtype)
    of_inputs = of_inputs.astype(jnp.float32) + params["input"]["bias"][None, None]

    def token(
        state: LSTMState, read: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[LSTMState, jax.Array]:
        of_input, begins, real = read
        before = jax.tree.map(lambda x: jnp.where(begins, 0.0, x), state)
        of_state = (before.hidden.astype(x.dtype) @ kernel).astype(jnp.float32)
        i, f, g, o = jnp.split(of_input + of_state, GATES, axis=-1)
        cell = nn.sigmoid(f) * before.cell + nn.sigmoid(i) * jnp.tanh(g)
        hidden = nn.sigmoid(o) * jnp.tanh(cell)
        after = jax.tree.map(
            lambda new, old: jnp.where(real, new, old), LSTMState(hidden, cell), state
        )
        return after, hidden.astype(x.dtype)

    in_time = (
        jnp.moveaxis(of_inputs, 1, 0),
        jnp.moveaxis(begins, 1, 0)[:, :, None],
        jnp.moveaxis(real, 1, 0)[:, :, None],
    )
    state, outputs = jax.lax.scan(token, state, in_time, unroll=UNROLLED_TOKENS)
    return jnp.moveaxis(outputs, 0, 1), state


def _init_layers(rng: jax.Array, config: ModelConfig) -> Any:
    """Kernels from U(-1, 1) / sqrt(E), as PyTorch draws them; biases 0, of the forget gates 1.

    Source of the 1: Jozefowicz et al. 2015, section 4.
    """
    layers, width = config.num_layers, config.d_model
    bound = width**-0.5

    def kernel(rng: jax.Array) -> jax.Array:
        shape = (layers, width, GATES * width)
        return jax.random.uniform(rng, shape, jnp.float32, -bound, bound)

    of_input, of_state = jax.random.split(rng)
    bias = jnp.zeros((layers, GATES, width), jnp.float32).at[:, 1].set(1.0)
    return {
        "input": {"kernel": kernel(of_input), "bias": bias.reshape(layers, -1)},
        "recurrent": {"kernel": kernel(of_state)},
    }
