"""What attention costs, by formula: pairs that are computed, FLOPs, and bytes.

All of one text and one head, the mean over heads that differ. FLOPs count the two products of a
pair (scores, weighted sum of values); computing the scores again in the backward pass counts as
none of it, as in PaLM, arXiv 2204.02311, appendix B.

    forward_flops(executed_pairs(pattern, 8192), head_dim=64)
"""

from gptjax.attention.algebra import Pattern, in_order
from gptjax.attention.blocks import visited_pairs
from gptjax.attention.blockwise import block_size
from gptjax.attention.rules import Rules


def visited_block(pattern: Pattern, length: int) -> int:
    """Positions in a block of blockwise attention, causality included in `pattern`."""
    return block_size(Rules(pattern, scale=1.0, dropout_rate=0.0), length, length)


def executed_pairs(pattern: Pattern, length: int) -> float:
    """Pairs that blockwise attention computes in a decoder: all of every block it visits."""
    parts = in_order(pattern).per_head()
    pairs = (visited_pairs(part, length, visited_block(part, length)) for part in parts)
    return sum(pairs) / len(parts)


def forward_flops(pairs: float, head_dim: int) -> float:
    """FLOPs of the forward pass: 2 D for the score of a pair, 2 D for its share in the output."""
    return 4 * head_dim * pairs


def backward_flops(pairs: float, head_dim: int) -> float:
    """FLOPs of the backward pass: two products for each one of the forward pass."""
    return 2 * forward_flops(pairs, head_dim)
