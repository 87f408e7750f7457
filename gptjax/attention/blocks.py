"""Pattern -> static block map: which blocks of the score matrix are empty, partial or full.

The map comes from the predicate alone. `Pattern.block_kinds` settles most blocks in closed form,
the rest are looked at pair by pair a few at a time, so that nothing of size n x n is ever made.

    kinds = block_map(in_order(Banded(256)), 8192, 8192, 128, 128)
"""

import functools

import numpy as np

from gptjax.attention.algebra import EMPTY, FULL, PARTIAL, UNKNOWN, Pattern

__all__ = ["EMPTY", "FULL", "PARTIAL", "block_map"]

PAIRS_AT_ONCE = 1 << 22


@functools.lru_cache(maxsize=256)
def block_map(
    pattern: Pattern, num_queries: int, num_keys: int, query_block: int, key_block: int
) -> np.ndarray:
    """Classifies the blocks of a [num_queries, num_keys] score matrix at positions 0..n-1.

    Args:
        pattern: the predicate, causality included (`patterns.in_order`).
        num_queries: length in positions; the last block may be short.
        num_keys: the same of the keys.
        query_block: positions in a block of queries.
        key_block: positions in a block of keys.

    Returns:
        Read-only int8 [query blocks, key blocks] of EMPTY, PARTIAL and FULL.
    """
    q_low, q_high = _edges(num_queries, query_block)
    k_low, k_high = _edges(num_keys, key_block)
    known = pattern.block_kinds(q_low[:, None], q_high[:, None], k_low[None], k_high[None])
    kinds = np.array(np.broadcast_to(known, (len(q_low), len(k_low))), np.int8)

    rows, columns = np.nonzero(kinds == UNKNOWN)
    step = max(1, PAIRS_AT_ONCE // (query_block * key_block))
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        q_pos = q_low[rows[some], None] + np.arange(query_block)
        k_pos = k_low[columns[some], None] + np.arange(key_block)
        real = (q_pos < num_queries)[:, :, None] & (k_pos < num_keys)[:, None, :]
        allowed = pattern(q_pos[:, :, None], k_pos[:, None, :])
        every, some_pair = (allowed | ~real).all((1, 2)), (allowed & real).any((1, 2))
        kinds[rows[some], columns[some]] = np.where(
            every, FULL, np.where(some_pair, PARTIAL, EMPTY)
        )
    kinds.flags.writeable = False
    return kinds


def _edges(length: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    low = np.arange(0, length, block)
    return low, np.minimum(low + block, length) - 1
