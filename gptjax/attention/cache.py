"""Keys and values kept between decoding steps, for any causal pattern.

A cache is an explicit pytree; stacked on a leading axis it goes through a scan over layers.

    cache = init_cache(batch, context_length, num_kv_heads, head_dim, jnp.float32)
    out, cache = cached_attend(q, k, v, cache, pattern, positions)   # a prompt, then one token
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.attention.dispatch import attend
from gptjax.attention.patterns import Pattern


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """What one layer remembers.

    Attributes:
        k, v: keys and values [B, S, K, D]; value heads may have a size of their own.
        positions: int32 [B, S], the text position each slot holds; negative where empty.
    """

    k: jax.Array
    v: jax.Array
    positions: jax.Array


def init_cache(
    batch: int,
    length: int,
    num_kv_heads: int,
    head_dim: int,
    dtype: Any,
    value_dim: int | None = None,
) -> KVCache:
    """An empty cache.

    Args:
        batch: number of sequences.
        length: the most positions a sequence may reach.
        num_kv_heads: key heads K.
        head_dim: size D of a head.
        dtype: of keys and values.
        value_dim: size of a value head; None: `head_dim`.
    """
    keys = jnp.zeros((batch, length, num_kv_heads, head_dim), dtype)
    values = jnp.zeros((*keys.shape[:3], value_dim or head_dim), dtype)
    return KVCache(keys, values, jnp.full((batch, length), -1, jnp.int32))


def cached_attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    cache: KVCache,
    pattern: Pattern,
    positions: jax.Array,
    **options: Any,
) -> tuple[jax.Array, KVCache]:
    """Writes a chunk of keys and values to the cache, then attends to all it holds.

    Args:
        q: queries of the chunk [B, T, H, D]; T = 1 in token by token decoding.
        k: its keys [B, T, K, D].
        v: its values [B, T, K, D].
        cache: what came before; sequences may have different lengths.
        pattern: who may attend; causality is added as in `attend`.
        positions: int32 [B, T] or [T], text positions of the chunk. Negative ones are padding:
            not stored. Positions that the cache has no slot for are dropped.
        **options: further keywords of `attend`: impl, score, scale.

    Returns:
        Output [B, T, H, D] and the cache with the chunk in it.
    """
    batch, length = cache.positions.shape
    positions = jnp.broadcast_to(positions, (batch, q.shape[1]))
    slots = jnp.where(positions >= 0, positions, length)
    rows = jnp.arange(batch)[:, None]
    cache = KVCache(
        cache.k.at[rows, slots].set(k.astype(cache.k.dtype), mode="drop"),
        cache.v.at[rows, slots].set(v.astype(cache.v.dtype), mode="drop"),
        cache.positions.at[rows, slots].set(positions, mode="drop"),
    )
    out = attend(
        q, cache.k, cache.v, pattern, q_positions=positions, k_positions=cache.positions, **options
    )
    return out, cache
