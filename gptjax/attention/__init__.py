"""Attention: what may attend (patterns) and how it is computed (implementations), apart.

    out = attend(q, k, v, "banded(window=256)")

Dimension letters, here and in every einsum of the project:

    B batch   T query positions   S key positions   H query heads   K key heads
    G query heads a key head (H / K)   D head   E model   F feed-forward   V vocabulary
"""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.attention.cache import KVCache, cached_attend, init_cache
    from gptjax.attention.dispatch import IMPLEMENTATIONS, attend, attend_with_lse
    from gptjax.attention.patterns import PATTERNS, Pattern, parse

__all__ = [
    "IMPLEMENTATIONS",
    "PATTERNS",
    "KVCache",
    "Pattern",
    "attend",
    "attend_with_lse",
    "cached_attend",
    "init_cache",
    "parse",
]
__getattr__, __dir__ = public_names(__name__)
