"""Packed texts: positions restart with each segment, so that each is attended to as if alone.

Of a pattern of distances nothing changes. Any other is asked about positions within the segment,
which are known with the data alone; `anywhere` says which blocks it can leave empty all the same.

    positions = within_segments(segment_ids)
    kinds = block_map(anywhere(pattern), 8192, 8192, 128, 128)
"""

from typing import Any

import jax
import jax.numpy as jnp

from gptjax.attention.algebra import And, Causal, Or, Pattern, Repeats
from gptjax.attention.primitives import (
    BlockOrder,
    Everything,
    FirstKeys,
    FirstQueries,
    Near,
    SameBlock,
)


def within_segments(segment_ids: jax.Array) -> jax.Array:
    """Positions counted from the first one of the same id: int32 [B, T] of ids [B, T]."""

    def of_row(ids: jax.Array) -> jax.Array:
        order = jnp.argsort(ids, stable=True)
        first = order[jnp.searchsorted(ids[order], ids)]
        return jnp.arange(ids.size, dtype=jnp.int32) - first.astype(jnp.int32)

    return jax.vmap(of_row)(segment_ids)


def is_of_distance(pattern: Pattern) -> bool:
    """Whether the pattern is known to depend on the distance of query and key alone."""
    return pattern.repeats() == Repeats(1)


def asks_for_positions(pattern: Pattern, score: Any) -> bool:
    """Whether a call depends on where its positions begin; a score change may, whatever it is."""
    return score is not None or not all(map(is_of_distance, pattern.per_head()))


def anywhere(pattern: Pattern) -> Pattern:
    """The pairs that `pattern` allows from wherever positions are counted, or more of them.

    It is a pattern of distances, which for one is the pattern itself.
    """
    if is_of_distance(pattern):
        return pattern
    match pattern:
        case And(FirstKeys(one), FirstQueries(other)) | And(FirstQueries(one), FirstKeys(other)):
            return Near(min(one, other))
        case And(left, right):
            return And(anywhere(left), anywhere(right))
        case Or(left, right):
            return Or(anywhere(left), anywhere(right))
        case SameBlock(block):
            return Near(block)
        case BlockOrder(block):
            return Or(Causal(), Near(block))
    form = pattern.closed_form()
    return Everything() if form is None else anywhere(form)
