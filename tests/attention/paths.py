"""The ways through the implementations, with blocks so small that short arrays have many."""

import itertools

from gptjax.attention import IMPLEMENTATIONS
from gptjax.attention.implementations import blockwise as blockwise_module
from gptjax.attention.patterns import Fixed, Heads, Prefix, Strided
from tests.attention.oracle import EXAMPLES
from tests.support.tiers import tiered

# blockwise has two ways of its own: short texts unroll, long ones scan over padded blocks.
PATHS = [*(name for name in IMPLEMENTATIONS if name != "fused"), "blockwise scanned"]
# Every pattern on every path is in the proof; of what is tested beside it, the default tier has
# heads that differ, a pattern of two parts, and one that states its order.
EVERY_PAIR = tiered(
    itertools.product(EXAMPLES, PATHS),
    zip([Heads((Strided(7, 1), Strided(7, 2))), Fixed(7, 3), Prefix(7)], PATHS, strict=True),
)


def use_path(path, monkeypatch):
    """Sets block sizes for `path` and returns the name of its implementation."""
    monkeypatch.setattr(blockwise_module, "UNROLLED_BLOCK", 16)
    if path == "blockwise scanned":
        monkeypatch.setattr(blockwise_module, "UNROLLED_LENGTH", 0)
        monkeypatch.setattr(blockwise_module, "SMALL_BLOCK", 8)
        monkeypatch.setattr(blockwise_module, "LARGE_BLOCK", 16)
    return path.split()[0]
