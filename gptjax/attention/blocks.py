"""Pattern -> static block map: which blocks of the score matrix are empty, partial or full.

The map comes from the predicate alone. `Pattern.block_kinds` settles most blocks in closed form,
the rest are looked at pair by pair a few at a time, so that nothing of size n x n is ever made.

    kinds = block_map(in_order(Banded(256)), 8192, 8192, 128, 128)
"""

import functools

import numpy as np

from gptjax.attention.algebra import EMPTY, FULL, PARTIAL, UNKNOWN, Pattern, in_order

__all__ = ["EMPTY", "FULL", "PARTIAL", "block_map", "count_pairs", "density", "visited_pairs"]

PAIRS_AT_ONCE = 1 << 20
COUNTED_BLOCK, LARGEST_COUNTED_BLOCK = 256, 4096


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

    unknown = np.argwhere(kinds == UNKNOWN)
    first, alike = _alike(pattern, unknown, min(num_queries, num_keys), query_block, key_block)
    rows, columns = unknown[first].T
    looked = np.empty(len(rows), np.int8)
    step = max(1, PAIRS_AT_ONCE // (query_block * key_block))
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        q_pos = q_low[rows[some], None] + np.arange(query_block)
        k_pos = k_low[columns[some], None] + np.arange(key_block)
        real = (q_pos < num_queries)[:, :, None] & (k_pos < num_keys)[:, None, :]
        allowed = pattern(q_pos[:, :, None], k_pos[:, None, :])
        every, some_pair = (allowed | ~real).all((1, 2)), (allowed & real).any((1, 2))
        looked[some] = np.where(every, FULL, np.where(some_pair, PARTIAL, EMPTY))
    kinds[*unknown.T] = looked[alike]
    kinds.flags.writeable = False
    return kinds


def _alike(
    pattern: Pattern, blocks: np.ndarray, length: int, query_block: int, key_block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Groups blocks (row, column) that a repeating pattern makes equal.

    Returns:
      The index of one block of each group, and the group of each block.
    """
    repeats, (rows, columns) = pattern.repeats(), blocks.T
    if repeats is None or query_block != key_block:
        return np.arange(len(blocks)), np.arange(len(blocks))
    start = np.minimum(rows, columns) * query_block
    whole = (np.maximum(rows, columns) + 1) * query_block <= length
    group = np.stack([rows - columns, start % repeats.every, np.full(len(blocks), -1)], 1)
    alone = ~whole | (start < repeats.after)
    group[alone, 2] = np.flatnonzero(alone)
    _, first, alike = np.unique(group, axis=0, return_index=True, return_inverse=True)
    return first, alike.reshape(-1)


def visited_pairs(pattern: Pattern, num_queries: int, num_keys: int, block: int) -> int:
    """The pairs in the blocks of `block` x `block` positions that are not empty."""
    (q_low, q_high), (k_low, k_high) = _edges(num_queries, block), _edges(num_keys, block)
    some = block_map(pattern, num_queries, num_keys, block, block) != EMPTY
    return int((q_high + 1 - q_low) @ some @ (k_high + 1 - k_low))


@functools.lru_cache(maxsize=256)
def count_pairs(pattern: Pattern, length: int) -> int:
    """Exact number of the `length` x `length` pairs of positions that may attend.

    Full blocks are counted whole, partial ones by looking; where the pattern repeats, one block
    stands for all of its diagonal, so that 131,072 positions take a second.

    Args:
      pattern: the same in all heads, causality included (`algebra.in_order`).
      length: of queries and keys, in positions.
    """
    every, after = pattern.repeats() or (1, length)
    if every > LARGEST_COUNTED_BLOCK:
        every, after = 1, length
    block = -(-COUNTED_BLOCK // every) * every
    low, high = _edges(length, block)
    sizes = high + 1 - low
    kinds = block_map(pattern, length, length, block, block)
    pairs = int(sizes @ (kinds == FULL) @ sizes)

    rows, columns = np.nonzero(kinds == PARTIAL)
    nearer, farther = np.minimum(rows, columns), np.maximum(rows, columns)
    alike = (nearer * block >= after) & (farther < length // block)
    group = np.where(alike, rows - columns, len(low) + np.arange(len(rows)))
    _, chosen, blocks = np.unique(group, return_index=True, return_counts=True)
    step = max(1, PAIRS_AT_ONCE // block)
    counted = np.stack([rows[chosen], columns[chosen], blocks], 1).tolist()
    for row, column, times in counted:
        k_pos = np.arange(column * block, min((column + 1) * block, length))
        end = min((row + 1) * block, length)
        for start in range(row * block, end, step):
            q_pos = np.arange(start, min(start + step, end))
            allowed = pattern(q_pos[:, None], k_pos[None])
            some = np.broadcast_to(allowed, (len(q_pos), len(k_pos)))
            pairs += times * int(np.count_nonzero(some))
    return pairs


def density(pattern: Pattern, length: int) -> float:
    """Pairs that may attend in a decoder over the T (T + 1) / 2 of `dense`; the mean of heads."""
    parts = in_order(pattern).per_head()
    dense = length * (length + 1) // 2
    return sum(count_pairs(part, length) for part in parts) / (len(parts) * dense)


def _edges(length: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    low = np.arange(0, length, block)
    return low, np.minimum(low + block, length) - 1
