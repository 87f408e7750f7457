"""The ways through the implementations, with blocks so small that short arrays have many."""

from gptjax.attention import IMPLEMENTATIONS
from gptjax.attention.implementations import blockwise as blockwise_module

# blockwise has two ways of its own: short texts unroll, long ones scan over padded blocks.
PATHS = [*(name for name in IMPLEMENTATIONS if name != "fused"), "blockwise scanned"]


def use_path(path, monkeypatch):
    """Sets block sizes for `path` and returns the name of its implementation."""
    monkeypatch.setattr(blockwise_module, "UNROLLED_BLOCK", 16)
    if path == "blockwise scanned":
        monkeypatch.setattr(blockwise_module, "UNROLLED_LENGTH", 0)
        monkeypatch.setattr(blockwise_module, "SMALL_BLOCK", 8)
        monkeypatch.setattr(blockwise_module, "LARGE_BLOCK", 16)
    return path.split()[0]
