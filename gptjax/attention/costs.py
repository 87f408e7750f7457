"""Costs of attention, by formula: pairs that are computed, FLOPs, and bytes.

All of one text and one head, the mean over heads that differ. FLOPs count the two products of a
pair (scores, weighted sum of values); computing the scores again in the backward pass counts as
none of it, as in PaLM, arXiv 2204.02311, appendix B.

    forward_flops(executed_pairs(pattern, 8192), head_dim=64)
"""

import functools

from gptjax.attention.algebra import Pattern, in_order
from gptjax.attention.implementations.factorized import Factor, factors


@functools.cache
def executed_pairs(
    pattern: Pattern, length: int, *, causal: bool = True, factorized: bool = True
) -> float:
    """Pairs that blockwise attention computes: all of every block it visits.

    Args:
      pattern: of all heads.
      length: of queries and keys, in positions.
      causal: whether causality is added, as in a decoder; an encoder has none.
      factorized: False for calls with a score change or dropout, which stay whole.
    """
    heads, pairs = (in_order(pattern) if causal else pattern).per_head(), 0
    for part in heads:
        padded, parts = factors(part, length) if factorized else (length, (Factor(part),))
        pairs += sum(factor.pairs(padded) for factor in parts)
    return pairs / len(heads)


def forward_flops(pairs: float, head_dim: int) -> float:
    """FLOPs of the forward pass: 2 D for the score of a pair, 2 D for its share in the output."""
    return 4 * head_dim * pairs


def backward_flops(pairs: float, head_dim: int) -> float:
    """FLOPs of the backward pass: two products for each one of the forward pass."""
    return 2 * forward_flops(pairs, head_dim)


def training_bytes(length: int, heads: int, head_dim: int, itemsize: int = 4) -> int:
    """Bytes that the backward pass cannot do without: no array of them has a pair of positions.

    Queries, keys, values, output, the gradients of these four, and the float32 log-sum-exp; tiles
    and arrays in another order come on top, about half as much again on a CPU.
    """
    return length * heads * (8 * head_dim * itemsize + 4)
