"""PyTorch's attention as a program of its own: prints the seconds of a run for each line it reads.

PyTorch's threads would disturb those of JAX in one process, and PyTorch is optional.
`torch_program` starts this and talks to it:

    python -m experiments.benchmarks.pytorch.attention '{"program": "sdpa", "backward": true, ...}'
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from experiments.benchmarks.pytorch.program import serve

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _sdpa(length: int, window: int, stride: int) -> Callable[..., Any]:
    del length, window, stride
    return functools.partial(torch.nn.functional.scaled_dot_product_attention, is_causal=True)


def mask_of(window: int, stride: int) -> Callable[..., Any]:
    """FlexAttention's mask of our causal `banded(window)`, or where there is one `strided(stride)`.

    It maps (batch, head, query positions, key positions) to whether they attend.
    """

    def banded(batch: Any, head: Any, i: Any, j: Any) -> Any:
        del batch, head
        return (i >= j) & (i - j < window)

    def strided(batch: Any, head: Any, i: Any, j: Any) -> Any:
        del batch, head
        return (i >= j) & ((i - j <= stride) | ((i - j) % stride == 0))

    return strided if stride else banded


def _flex(length: int, window: int, stride: int) -> Callable[..., Any]:
    mask = create_block_mask(mask_of(window, stride), None, None, length, length, device=DEVICE)
    return torch.compile(functools.partial(flex_attention, block_mask=mask))


PROGRAMS = {"sdpa": _sdpa, "flex": _flex}


def _run(
    program: str,
    backward: bool,
    length: int,
    heads: int,
    head_dim: int,
    dtype: str,
    window: int,
    stride: int = 0,
) -> Callable[[], float]:
    attention = PROGRAMS[program](length, window, stride)
    shape, kind = (1, heads, length, head_dim), getattr(torch, dtype)
    arrays = [torch.randn(shape, device=DEVICE, dtype=kind, requires_grad=backward) for _ in "qkv"]

    def run() -> float:
        began = time.perf_counter()
        out = attention(*arrays)
        if backward:
            torch.autograd.grad(out, arrays, out.detach())
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    return run


if __name__ == "__main__":
    serve(_run, f"torch {torch.__version__} on {DEVICE}")
