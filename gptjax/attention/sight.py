"""Which tokens earlier positions of their text may see, where a pattern looks ahead.

A language model learns nothing from a target that its own input shows: those count nothing. As in
the prefix LM of T5 (arXiv 1910.10683, section 3.2.3), there is no loss on the prefix.

    counted = out_of_sight(attention_cycle(config), length)
"""

import functools

import numpy as np

from gptjax.attention.algebra import Causal, Pattern, in_order
from gptjax.attention.blocks import EMPTY, FULL, block_map

BLOCK = 128


@functools.lru_cache(maxsize=64)
def out_of_sight(patterns: tuple[Pattern, ...], length: int) -> np.ndarray:
    """Which tokens of a text no earlier position depends on, through however many layers.

    What stands at t reaches a query before t only if some query before t may attend to some key
    at t or after it.

    Args:
      patterns: of the layers of a decoder, in any order.
      length: of the text.

    Returns:
      Read-only bool [length].
    """
    farthest = np.arange(length)
    for pattern in patterns:
        if pattern.looks_ahead:
            for part in in_order(pattern).per_head():
                farthest = np.maximum(farthest, _farthest(part, length))
    before = np.maximum.accumulate(np.concatenate([[-1], farthest]))[:length]
    hidden = before < np.arange(length)
    hidden.flags.writeable = False
    return hidden


def _farthest(pattern: Pattern, length: int) -> np.ndarray:
    """The last key that each query may attend to, itself if it attends to none after it."""
    ahead = pattern & ~Causal()
    kinds = block_map(ahead, length, length, BLOCK, BLOCK)
    farthest = np.arange(length)
    for row, of_row in enumerate(kinds):
        queries = np.arange(row * BLOCK, min((row + 1) * BLOCK, length))
        left = np.ones(len(queries), bool)
        for column in np.flatnonzero(of_row != EMPTY)[::-1]:
            keys = np.arange(column * BLOCK, min((column + 1) * BLOCK, length))
            if of_row[column] == FULL:
                seen = np.ones((len(queries), len(keys)), bool)
            else:
                seen = np.broadcast_to(
                    ahead(queries[:, None], keys[None]), (len(queries), len(keys))
                )
            found = left & seen.any(1)
            farthest[queries[found]] = keys[len(keys) - 1 - seen[found, ::-1].argmax(1)]
            left &= ~found
            if not left.any():
                break
    return farthest
