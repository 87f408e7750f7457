"""Strided and fixed attention as a few smaller dense ones, joined by their log-sum-exps.

In the text's own order these patterns leave almost no block empty. Rearranged they do: the
positions of one remainder modulo the stride, taken together, attend densely (strided, part 2), and
so do all queries to the summary keys, taken together (fixed, part 2). The Sparse Transformer
(Child et al. 2019, arXiv 1904.10509, section 4) factorizes attention into such parts; here the
parts of one softmax are computed apart and weighted by their shares of it, which is exact.

    out, lse = factorized(q, k, v, rules)
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.attention.algebra import PARTIAL, UNKNOWN, And, Causal, Or, Pattern
from gptjax.attention.blocks import visited_pairs
from gptjax.attention.implementations.blockwise import block_size, blockwise
from gptjax.attention.implementations.reference import FLOOR
from gptjax.attention.patterns import Fixed, Strided
from gptjax.attention.primitives import Columns, Everything, Near, SameBlock
from gptjax.attention.rules import Rules

Arrays = tuple[jax.Array, jax.Array, jax.Array, Rules]


@dataclasses.dataclass(frozen=True)
class Factor:
    """Factor of a whole text, unchanged.

    Attributes:
      pattern: who may attend, on the indices of the rearranged arrays.
    """

    pattern: Pattern

    def rearranged(self, q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules) -> Arrays:
        """The smaller attention: arrays in the layout of `reference`, and rules."""
        return q, k, v, dataclasses.replace(rules, pattern=self.pattern)

    def restored(self, x: jax.Array) -> jax.Array:
        """`x` [..., T, _] in the order of the text."""
        return x

    def pairs(self, length: int) -> int:
        """The pairs in the blocks that are visited."""
        return _visited(self.pattern, length, length)


@dataclasses.dataclass(frozen=True)
class Remainders(Factor):
    """Positions of equal remainder modulo `stride` make texts of their own."""

    stride: int

    def rearranged(self, q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules) -> Arrays:
        segments = (self._apart(x, -1) for x in (rules.q_segments, rules.k_segments))
        q_segments, k_segments = segments
        rules = dataclasses.replace(
            rules, pattern=self.pattern, q_segments=q_segments, k_segments=k_segments
        )
        return self._apart(q, -2), self._apart(k, -2), self._apart(v, -2), rules

    def _apart(self, x: Any, axis: int) -> Any:
        """[B, ..., T, ...] to [B stride, ..., T / stride, ...]."""
        if x is None:
            return None
        at = axis % x.ndim
        x = x.reshape(*x.shape[:at], -1, self.stride, *x.shape[at + 1 :])
        x = jnp.moveaxis(x, at + 1, 1)
        return x.reshape(-1, *x.shape[2:])

    def restored(self, x: jax.Array) -> jax.Array:
        x = x.reshape(-1, self.stride, *x.shape[1:])
        x = jnp.moveaxis(x, 1, -2)
        return x.reshape(*x.shape[:-3], -1, x.shape[-1])

    def pairs(self, length: int) -> int:
        short = length // self.stride
        return self.stride * _visited(self.pattern, short, short)


@dataclasses.dataclass(frozen=True)
class Summaries(Factor):
    """All queries, and the keys at the places of `columns`."""

    columns: Columns

    def rearranged(self, q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules) -> Arrays:
        pattern = Selected(self.pattern, self.columns)
        segments = None if rules.k_segments is None else self._chosen(rules.k_segments, -1)
        rules = dataclasses.replace(rules, pattern=pattern, k_segments=segments)
        return q, self._chosen(k, -2), self._chosen(v, -2), rules

    def _chosen(self, x: jax.Array, axis: int) -> jax.Array:
        at = axis % x.ndim
        x = x.reshape(*x.shape[:at], -1, self.columns.stride, *x.shape[at + 1 :])
        x = jax.lax.slice_in_dim(x, self.columns.low, self.columns.high, axis=at + 1)
        return x.reshape(*x.shape[:at], -1, *x.shape[at + 2 :])

    def pairs(self, length: int) -> int:
        columns = self.columns
        keys = length // columns.stride * (columns.high - columns.low)
        return _visited(Selected(self.pattern, columns), length, keys)


@dataclasses.dataclass(frozen=True)
class Selected(Pattern):
    """`pattern`, with keys counted among the chosen columns alone."""

    pattern: Pattern
    columns: Columns

    def position(self, k_index: Any) -> Any:
        """The place in the text of each chosen key."""
        width = self.columns.high - self.columns.low
        return k_index // width * self.columns.stride + self.columns.low + k_index % width

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """`pattern` at the key's place in the text."""
        return self.pattern(q_pos, self.position(k_pos))

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        k_low, k_high = self.position(k_low), self.position(k_high)
        known = self.pattern.block_kinds(q_low, q_high, k_low, k_high)
        # The range also holds keys that are not chosen: some of it may not be some of them.
        return np.where(known == PARTIAL, UNKNOWN, known)


def factors(pattern: Pattern, length: int) -> tuple[int, tuple[Factor, ...]]:
    """The smaller attentions that make up `pattern`, which share no pair.

    Args:
      pattern: causality included.
      length: of queries and keys, in positions.

    Returns:
      The length to fill the text up to, and the factors: one, the whole text, unless more of
      them visit fewer pairs.
    """
    whole = (Factor(pattern),)
    stride, parts = _divided(pattern)
    padded = length + -length % stride
    # Only causality hides what fills up the last stride from the positions of the text.
    if not parts or (padded > length and not _is_causal(pattern)):
        return length, whole
    fewer = sum(part.pairs(padded) for part in parts) < whole[0].pairs(length)
    return (padded, parts) if fewer else (length, whole)


def _divided(pattern: Pattern) -> tuple[int, tuple[Factor, ...]]:
    """The stride of a strided or fixed pattern, and its factors; (1, ()) of others."""
    inner, order = pattern, Everything()
    match pattern:
        case Or(left, right):
            for one, other in ((left, right), (right, left)):
                stride, parts = _divided(one)
                if parts:
                    return stride, (*parts, Factor(other & ~one))
        case And(left, Causal() as right):
            inner, order = left, right
    match inner:
        case Strided(stride, 2):
            return stride, (Remainders(order, stride),)
        case Strided(stride, "both"):
            # Distances 0 and stride, the two nearest of a remainder, are in the first part.
            near = Factor(Near(stride + 1) & order)
            return stride, (near, Remainders(~Near(2) & order, stride))
        case Fixed(stride, part=2):
            return stride, (Summaries(order, inner.columns),)
        case Fixed(stride, part="both"):
            own = SameBlock(stride)
            return stride, (Factor(own & order), Summaries(~own & order, inner.columns))
    return 1, ()


def _is_causal(pattern: Pattern) -> bool:
    if isinstance(pattern, Or):
        return _is_causal(pattern.left) and _is_causal(pattern.right)
    return isinstance(pattern, And) and isinstance(pattern.right, Causal)


def factorized(
    q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules
) -> tuple[jax.Array, jax.Array]:
    """Blockwise attention, in factors where that is less; arguments as `reference.reference`.

    Scores and dropout see and number positions of the text: with them it stays whole.
    """
    length = q.shape[3]
    explicit = rules.q_positions is not None or rules.k_positions is not None
    by_position = explicit or rules.score is not None or rules.seed is not None
    if by_position or length != k.shape[2]:
        return blockwise(q, k, v, rules)
    padded, parts = factors(rules.pattern, length)
    more = padded - length
    if more:
        rules = rules.padded(length, more, more)
        q, k, v = (jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, more), (0, 0)]) for x in (q, k, v))
    outs, lses = [], []
    for part in parts:
        out, lse = blockwise(*part.rearranged(q, k, v, rules))
        outs.append(part.restored(out)[..., :length, :])
        lses.append(part.restored(lse[..., None])[..., :length, :])
    return (outs[0], lses[0][..., 0]) if len(parts) == 1 else _joined(outs, lses)


def _joined(outs: list[jax.Array], lses: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """One softmax over all parts, from each part's own."""
    peak = jax.lax.stop_gradient(jnp.maximum(jnp.stack(lses).max(0), FLOOR))
    shares = [jnp.exp(lse - peak) for lse in lses]
    total = sum(shares[1:], shares[0])
    some = total > 0
    total = jnp.where(some, total, 1)
    terms = [share * out.astype(jnp.float32) for share, out in zip(shares, outs, strict=True)]
    out = sum(terms[1:], terms[0]) / total
    return out.astype(outs[0].dtype), jnp.where(some, peak + jnp.log(total), -jnp.inf)[..., 0]


def _visited(pattern: Pattern, num_queries: int, num_keys: int) -> int:
    rules = Rules(pattern, scale=1.0, dropout_rate=0.0)
    block = block_size(rules, num_queries, num_keys)
    return visited_pairs(pattern, num_queries, num_keys, block)
