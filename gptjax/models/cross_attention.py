"""Cross attention: a decoder's layer reads an encoder's output.

context = Context(segment_ids, hidden)
y = CrossAttention(config, pattern, std, attend, constrain).apply({"params": params}, x, context)
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax import attention
from gptjax.config import ModelConfig
from gptjax.models.projections import Projection, head_shapes
from gptjax.pytrees import pytree


@pytree
@dataclasses.dataclass(frozen=True)
class Context:
    """An encoder's output, to which cross attention attends.

    Attributes:
      segment_ids: int32 [B, S]; negative ones are padding.
      hidden: hidden states [B, S, E]; None where keys and values are made.
      heads: keys [B, S, K, D] and values [B, S, K, V] of one layer, which `context_heads` makes
        once for all the tokens that are decoded; None: each call makes them.
      queries: int32 [B, T], the segments of the queries; None: all are of segment 0. One whose
        segment has no keys gets zeros.
    """

    segment_ids: jax.Array
    hidden: jax.Array | None = None
    heads: tuple[jax.Array, jax.Array] | None = None
    queries: jax.Array | None = None


class CrossAttention(nn.Module):
    """Attention to an encoder's output (arXiv 1706.03762, section 3.2.3).

    Queries are at positions 0..T-1 and keys at 0..S-1; the pattern says which may meet. There is no
    causality, no rotation and no change of the scores.
    """

    config: ModelConfig
    pattern: attention.Pattern
    residual_std: float
    attend: Callable[..., jax.Array]
    constrain: Callable[..., jax.Array]

    @nn.compact
    def __call__(
        self, x: jax.Array, context: Context, *, positions: jax.Array | None, deterministic: bool
    ) -> jax.Array:
        """Maps [B, T, E] to [B, T, E]; `positions` are those of `Block`, with a cache."""
        c, shapes = self.config, head_shapes(self.config)
        joined = Projection((c.d_model,), self.residual_std, num_axes=2, name="out")
        axes = ("batch", "sequence", "heads", None)
        q = self.constrain(Projection(shapes["query"], c.init_std, name="query")(x), axes)
        if context.hidden is None:
            assert context.heads is not None
            k, v = context.heads
        else:
            k, v = (
                self.constrain(
                    Projection(shapes[name], c.init_std, name=name)(context.hidden), axes
                )
                for name in ("key", "value")
            )
        if self.is_initializing():  # `init` asks for parameters alone
            return joined(jnp.zeros((*q.shape[:-1], v.shape[-1]), x.dtype))
        dropping = c.attention_dropout > 0.0 and not deterministic
        of_queries = context.queries
        if of_queries is None:
            of_queries = jnp.zeros(x.shape[:2], jnp.int32)
        out = self.attend(
            q,
            k,
            v,
            self.pattern,
            causal=False,
            impl=c.attention_impl,
            segment_ids=(of_queries, context.segment_ids),
            q_positions=positions,
            dropout_rate=c.attention_dropout if dropping else 0.0,
            dropout_rng=self.make_rng("dropout") if dropping else None,
        )
        return joined(out)


def context_heads(config: ModelConfig, params: Any, context: Context) -> Context:
    """`context` with the keys and values of the layer whose cross attention has `params`."""
    shapes = head_shapes(config)

    def projected(name: str) -> Any:
        module = Projection(shapes[name], config.init_std, parent=None)
        return module.apply({"params": params[name]}, context.hidden)

    k, v = projected("key"), projected("value")
    return Context(context.segment_ids, heads=(k, v))
