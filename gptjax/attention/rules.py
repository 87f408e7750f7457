"""The rules of one attention call beside q, k, v: who may attend, changed scores, dropout.

Every implementation asks the same object about a rectangle of the score matrix, the reference
about all of it, the blockwise one about a tile, so that they cannot disagree.

    tile = rules.tile(0, 128, 0, 256)
    mask, keep = tile.mask(), tile.keep()
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.attention.algebra import Pattern
from gptjax.attention.primitives import FirstKeys
from gptjax.pytrees import STATIC, pytree

Score = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


@pytree
@dataclasses.dataclass(frozen=True)
class Rules:
    """Inputs of an implementation besides q, k and v; None stands for "does not apply".

    Attributes:
      pattern: the predicate, causality included.
      scale: factor on q . k.
      dropout_rate: share of the attention weights set to zero.
      q_positions, k_positions: int32 [B or 1, T], [B or 1, S]; None is 0..n-1, the only case
        in which blocks are known before the data are. Negative keys are empty slots.
      restarts: whether the positions are those within segments, of one order with the indices.
      q_segments, k_segments: int32 [B, T], [B, S]; attend within equal, non-negative ids.
      heads: int32 [K, G], the numbers of the query heads; None is 0..H-1.
      seed: uint32 [2], the dropout's randomness.
      score: a pytree, called as score(scores, head, q_pos, k_pos) -> scores.
    """

    pattern: Pattern = dataclasses.field(metadata=STATIC)
    scale: float = dataclasses.field(metadata=STATIC)
    dropout_rate: float = dataclasses.field(metadata=STATIC)
    restarts: bool = dataclasses.field(default=False, metadata=STATIC)
    q_positions: jax.Array | None = None
    k_positions: jax.Array | None = None
    q_segments: jax.Array | None = None
    k_segments: jax.Array | None = None
    heads: jax.Array | None = None
    seed: jax.Array | None = None
    score: Score | None = None

    def padded(self, num_keys: int, more_queries: int, more_keys: int) -> "Rules":
        """The same rules for arrays lengthened at the end: nobody attends to the new keys."""

        def lengthen(x: jax.Array | None, more: int) -> jax.Array | None:
            return None if x is None else jnp.pad(x, [(0, 0), (0, more)], constant_values=-1)

        hide = more_keys > 0 and self.k_positions is None
        return dataclasses.replace(
            self,
            pattern=self.pattern & FirstKeys(num_keys) if hide else self.pattern,
            q_positions=lengthen(self.q_positions, more_queries),
            k_positions=lengthen(self.k_positions, more_keys),
            q_segments=lengthen(self.q_segments, more_queries),
            k_segments=lengthen(self.k_segments, more_keys),
        )

    def tile(self, q_start: Any, q_size: int, k_start: Any, k_size: int) -> "Tile":
        """The rectangle of `q_size` queries from `q_start` by `k_size` keys from `k_start`."""
        return Tile(self, q_start, q_size, k_start, k_size)


@dataclasses.dataclass(frozen=True)
class Tile:
    """A rectangle of the score matrix; starts may be traced.

    Positions, masks and dropout broadcast against grouped scores [B, K, G, q, k].
    """

    rules: Rules
    q_start: Any
    q_size: int
    k_start: Any
    k_size: int

    def queries(self, x: jax.Array) -> jax.Array:
        """The tile's part [B, K, G, q, _] of an array [B, K, G, T, _]."""
        return jax.lax.dynamic_slice_in_dim(x, self.q_start, self.q_size, axis=3)

    def keys(self, x: jax.Array) -> jax.Array:
        """The tile's part [B, K, k, _] of an array [B, K, S, _]."""
        return jax.lax.dynamic_slice_in_dim(x, self.k_start, self.k_size, axis=2)

    def put_queries(self, x: jax.Array, part: jax.Array) -> jax.Array:
        """`x` [B, K, G, T, _] with the tile's part replaced."""
        return jax.lax.dynamic_update_slice_in_dim(x, part, self.q_start, axis=3)

    def put_keys(self, x: jax.Array, part: jax.Array) -> jax.Array:
        """`x` [B, K, S, _] with the tile's part replaced."""
        return jax.lax.dynamic_update_slice_in_dim(x, part, self.k_start, axis=2)

    def q_values(self, values: jax.Array | None) -> jax.Array:
        """`values` [B, T] at the tile's queries, [B, 1, 1, q, 1]; indices where None."""
        if values is None:
            return (self.q_start + jnp.arange(self.q_size))[None, None, None, :, None]
        return self.queries(values[:, None, None, :, None])

    def k_values(self, values: jax.Array | None) -> jax.Array:
        """`values` [B, S] at the tile's keys, [B, 1, 1, 1, k]; indices where None."""
        if values is None:
            return (self.k_start + jnp.arange(self.k_size))[None, None, None, None, :]
        return self.keys(values[:, None, :, None]).reshape(len(values), 1, 1, 1, self.k_size)

    def heads(self, key_heads: int, groups: int) -> jax.Array:
        """int32 [1, K, G, 1, 1], the numbers of the query heads."""
        heads = self.rules.heads
        if heads is None:
            heads = jnp.arange(key_heads * groups)
        return heads.reshape(1, key_heads, groups, 1, 1)

    def mask(self) -> jax.Array:
        """True where the query may attend to the key."""
        rules = self.rules
        k_pos = self.k_values(rules.k_positions)
        allowed = rules.pattern(self.q_values(rules.q_positions), k_pos)
        if rules.k_positions is not None:
            allowed &= k_pos >= 0
        if rules.q_segments is not None:
            segment = self.q_values(rules.q_segments)
            allowed &= (segment == self.k_values(rules.k_segments)) & (segment >= 0)
        return allowed

    def changed(
        self, scores: jax.Array, score: Score | None, mask: jax.Array | None = None
    ) -> jax.Array:
        """`scores` after the score change: `rules.score`, passed apart to be differentiated.

        Outside the `mask` it is asked about the last key that the query may attend to, or about its
        own position: what is not finite there would make the gradients of what is learned NaN.
        """
        rules = self.rules
        if score is None:
            return scores
        head = self.heads(*scores.shape[1:3])
        q_pos, k_pos = self.q_values(rules.q_positions), self.k_values(rules.k_positions)
        if mask is not None:
            last = jnp.max(jnp.where(mask, k_pos, -1), axis=-1, keepdims=True)
            k_pos = jnp.where(mask, k_pos, jnp.where(last < 0, q_pos, last))
        return score(scores, head, q_pos, k_pos)

    def keep(self, batch: int, key_heads: int, groups: int) -> jax.Array | None:
        """float32 [B, K, G, q, k]: 0 where dropped, else 1 / (1 - rate); None without dropout.

        A counter hash of (seed, batch, head, query index, key index): the same bits in forward
        and backward, in every tiling and on every mesh.
        """
        rules = self.rules
        if rules.seed is None:
            return None
        row = _mix(jnp.arange(batch, dtype=jnp.uint32) ^ rules.seed[0]).reshape(-1, 1, 1, 1, 1)
        row = _mix(row + self.heads(key_heads, groups).astype(jnp.uint32))
        row = _mix(row + self.q_values(None).astype(jnp.uint32)) ^ rules.seed[1]
        bits = _mix(row + self.k_values(None).astype(jnp.uint32) * jnp.uint32(0x9E3779B9))
        kept = bits >= jnp.uint32(round(rules.dropout_rate * 2**32))
        return kept.astype(jnp.float32) * (1 / (1 - rules.dropout_rate))


def _mix(bits: jax.Array) -> jax.Array:
    """A bijection of uint32 that spreads every bit.

    Source: C. Wellons, "lowbias32", Hash Function Prospector (public domain).
    """
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)
