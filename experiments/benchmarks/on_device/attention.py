"""Attention by pattern, length and implementation, and PyTorch's beside it.

figures = measure_attention(Shape(8192, 16, 64, "bfloat16"), pattern, "fused", True, 10, peaks)
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import jax

from experiments.benchmarks.attention_programs import AttentionProgram, Shape
from experiments.benchmarks.on_device.training import refuse_cpu
from experiments.benchmarks.pytorch.program import torch_program
from gptjax.attention import Pattern, attend
from gptjax.attention.blocks import count_pairs
from gptjax.attention.choices import choices
from gptjax.attention.costs import backward_flops, forward_flops
from gptjax.attention.device import current
from gptjax.attention.patterns import Banded, Dense, Strided, in_order


def refusals(pattern: Pattern, shape: Shape) -> Mapping[str, str]:
    """By the names of those implementations that cannot compute a causal pattern here, why."""
    (made,) = choices(pattern, current(), shape.length, shape.head_dim, shape.dtype)
    return made.refused


def chosen(pattern: Pattern, shape: Shape) -> str:
    """The implementation that "auto" stands for, and why."""
    (made,) = choices(pattern, current(), shape.length, shape.head_dim, shape.dtype)
    return str(made)


def measure_attention(
    shape: Shape,
    pattern: Pattern,
    implementation: str,
    backward: bool,
    rounds: int,
    peaks: Mapping[str, Any],
) -> dict[str, Any]:
    """Seconds, memory, and FLOPs of pairs that may attend over the device's peak.

    Args:
      shape: of a text.
      pattern: causality is added.
      implementation: one of ours, or "cudnn": `jax.nn.dot_product_attention`, dense.
      backward: whether gradients are computed, too.
      rounds: of which the median counts.
      peaks: of the device.
    """
    computed: Callable[..., jax.Array]
    if implementation == "cudnn":
        computed = functools.partial(
            jax.nn.dot_product_attention, is_causal=True, implementation="cudnn"
        )
    else:
        computed = functools.partial(attend, pattern=pattern, impl=implementation)
    program = AttentionProgram(shape, computed, backward=backward)
    program()
    seconds = statistics.median(program() for _ in range(rounds))
    return _figures(shape, pattern, backward, seconds, peaks) | {"bytes": program.bytes}


def torch_attention(
    shape: Shape,
    pattern: Pattern,
    program: str,
    backward: bool,
    rounds: int,
    peaks: Mapping[str, Any],
) -> dict[str, Any]:
    """The same of PyTorch's "sdpa", which is dense, or of "flex" with the mask of `flex_mask`.

    Raises:
      ValueError: PyTorch does not run here, or not on a GPU.
    """
    arguments = (
        dataclasses.asdict(shape) | {"backward": backward} | flex_mask(pattern, shape.length)
    )
    with torch_program("attention", program=program, **arguments) as (run, version):
        refuse_cpu(version)
        seconds = statistics.median(run() for _ in range(rounds))
    return _figures(shape, pattern, backward, seconds, peaks) | {"torch": version}


def flex_mask(pattern: Pattern, length: int) -> dict[str, int]:
    """The band or the stride with which FlexAttention's mask is the causal pattern.

    Raises:
      ValueError: it has no mask for the pattern.
    """
    match pattern:
        case Dense():
            return {"window": length, "stride": 0}
        case Banded(window=window):
            return {"window": window, "stride": 0}
        case Strided(stride=stride, part="both"):
            return {"window": 0, "stride": stride}
    raise ValueError(f"FlexAttention: got {pattern}, expected dense, banded or strided")


def _figures(
    shape: Shape, pattern: Pattern, backward: bool, seconds: float, peaks: Mapping[str, Any]
) -> dict[str, Any]:
    pairs = shape.heads * count_pairs(in_order(pattern), shape.length)
    flops = forward_flops(pairs, shape.head_dim)
    flops += backward_flops(pairs, shape.head_dim) if backward else 0
    return {
        "seconds": seconds,
        "useful_flops_per_second": flops / seconds,
        "share_of_peak": flops / seconds / peaks["flops_per_second"],
    }
