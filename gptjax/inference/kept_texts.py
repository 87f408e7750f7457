"""Texts that have ended, kept with their caches: what begins like one of them costs the rest only.

    kept = KeptTexts(4)
    kept.keep(tokens, cache)               # the cache of one row, of all tokens but the last
    found = kept.longest(prompt)           # (its cache, how many tokens of the prompt are in it)

A turn of a conversation begins with all turns before it, a second reply to a prompt with that
prompt, and texts of one system message with it. Caches of a bounded reach go back no further than
the last chunk that was written; those of an LSTM hold no single tokens and are not kept.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gptjax.attention.cache import KVCache
from gptjax.config import ModelConfig
from gptjax.models.transformer import Cache, looks_ahead

LEAST = 16  # tokens in common that are worth a batch of one row


class _Kept(NamedTuple):
    tokens: np.ndarray  # of which the cache holds the keys and values
    cache: Cache


class KeptTexts:
    """The last texts that ended; a look-up counts as a use."""

    def __init__(self, most: int):
        """`most`: texts to keep, 0 for none; each has a row of the batch's cache."""
        self._most = most
        self._kept: list[_Kept] = []  # the last used at the end

    def __bool__(self) -> bool:
        """Whether any text may be kept."""
        return self._most > 0

    def clear(self) -> None:
        """Forgets all, as after a change of parameters."""
        self._kept.clear()

    def keep(self, tokens: np.ndarray, cache: Cache) -> None:
        """Keeps a text [n] with the cache of its first n - 1 tokens; what it begins with goes."""
        held = tokens[:-1]
        if held.size < LEAST or not all(isinstance(layer, KVCache) for layer in cache):
            return
        self._kept = [kept for kept in self._kept if common(kept.tokens, held) < kept.tokens.size]
        self._kept = [*self._kept, _Kept(held, cache)][-self._most :]

    def longest(self, prompt: np.ndarray) -> tuple[Cache, int] | None:
        """The kept cache that holds most of a prompt's first tokens, and how many it holds.

        All but the last token of the prompt [n] may be among them; None: too few are.
        """
        usable = [(self._usable(kept, prompt[:-1]), kept) for kept in self._kept]
        count, best = max(usable, key=lambda found: found[0], default=(0, None))
        if best is None or count < LEAST:
            return None
        self._kept = [*(kept for kept in self._kept if kept is not best), best]
        return best.cache, count

    @staticmethod
    def _usable(kept: _Kept, prompt: np.ndarray) -> int:
        count, held = common(kept.tokens, prompt), kept.tokens.size
        rings = [layer.chunk for layer in kept.cache if layer.near is not None]
        return count if held - count <= min(rings, default=held) else 0


def common(one: Sequence[int] | np.ndarray, other: Sequence[int] | np.ndarray) -> int:
    """How many tokens two texts [m], [n] begin with in common."""
    size = min(len(one), len(other))
    different = np.flatnonzero(np.asarray(one[:size]) != np.asarray(other[:size]))
    return int(different[0]) if different.size else size


def keeps(config: ModelConfig) -> bool:
    """Whether a prompt may be fed in parts, as what follows a kept text is."""
    return not looks_ahead(config)
