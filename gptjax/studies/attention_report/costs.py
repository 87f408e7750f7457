"""Costs of a pattern at a length: density, FLOPs and bytes, exact and without running it.

costs = pattern_costs(pattern, 131_072)
"""

import math
from typing import Any

import jax

from gptjax.attention import Pattern, init_cache
from gptjax.attention.blocks import density
from gptjax.attention.costs import (
    backward_flops,
    executed_pairs,
    forward_flops,
    training_bytes,
)

HEADS, HEAD_DIM, DTYPE = 8, 64, "float32"


def pattern_costs(pattern: Pattern, length: int) -> dict[str, Any]:
    """Costs in a decoder, of one text, for HEADS heads of HEAD_DIM in DTYPE.

    Returns:
      `density`, pairs that may attend, and `executed_density`, pairs in the blocks that
      blockwise attention computes, both over the T (T + 1) / 2 of `dense`; `forward_flops` and
      `backward_flops` that it executes; `cache_bytes`. Or `refused`: why the pattern is not for
      this length.
    """
    try:
        pattern.check(length)
    except ValueError as error:
        return {"length": length, "refused": str(error)}
    pairs = executed_pairs(pattern, length)
    cache = jax.eval_shape(lambda: init_cache(1, length, HEADS, HEAD_DIM, DTYPE, pattern=pattern))
    return {
        "length": length,
        "density": density(pattern, length),
        "executed_density": pairs / math.comb(length + 1, 2),
        "forward_flops": HEADS * forward_flops(pairs, HEAD_DIM),
        "backward_flops": HEADS * backward_flops(pairs, HEAD_DIM),
        "cache_bytes": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(cache)),
    }


def length_costs(length: int) -> dict[str, float]:
    """Costs of a length that are the same for all patterns.

    Returns:
      `forward_flops` and `backward_flops` as if every pair of positions were computed,
      `score_bytes` that the scores of all pairs would take, and `training_bytes` that blockwise
      attention holds.
    """
    pairs = HEADS * length**2
    return {
        "length": length,
        "forward_flops": forward_flops(pairs, HEAD_DIM),
        "backward_flops": backward_flops(pairs, HEAD_DIM),
        "score_bytes": 4 * pairs,
        "training_bytes": training_bytes(length, HEADS, HEAD_DIM),
    }
