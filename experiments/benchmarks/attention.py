"""Attention against its rivals: seconds, memory and useful arithmetic.

Batch 1, float32 on a CPU and bfloat16 on a GPU; forward, and forward with backward. Programs that
are compared run in turn, and ratios are formed round by round. The rivals are XLA's dense attention
(cuDNN's on a GPU) and, where PyTorch is installed, its dense attention and compiled FlexAttention
(forward only on a CPU). The targets are for two CPU cores.

    python -m experiments.benchmark --suite=attention
"""

import contextlib
import dataclasses
import functools
import statistics
from collections.abc import Iterator
from typing import Any, Literal

import jax

from experiments.benchmarks.attention_programs import AttentionProgram, Shape
from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import TimedProgram, interleaved, medians, ratio
from experiments.benchmarks.pytorch.program import torch_program
from experiments.benchmarks.registry import SUITES
from gptjax.attention import Pattern, attend, parse
from gptjax.attention.blocks import count_pairs
from gptjax.attention.costs import backward_flops, executed_pairs, forward_flops
from gptjax.attention.patterns import Dense, in_order
from gptjax.attention.registered_patterns import registered_patterns
from gptjax.training.reporting.throughput import matmul_peak_flops

DIRECTIONS = {"forward": False, "forward_backward": True}
CPU_TARGETS: dict[str, Target] = {
    "dense.forward_backward.xla_over_blockwise": (
        "at least",
        4 if jax.__version_info__ < (0, 11) else 2,
    ),
    "dense.forward_backward.blockwise_over_sdpa": ("at most", 1.3),
    "dense.forward_backward.memory_over_xla": ("at most", 0.25),
    "dense.forward_backward.useful_over_matmul_peak": ("at least", 0.2),
    "banded.forward_backward.xla_over_blockwise": ("at least", 40),
    "banded.forward.blockwise_over_flex": ("at most", 1.5),
    "sparse.*.over_share_of_dense.*": ("at most", 1.5),
    "growth.forward_backward.bytes": ("at most", 4e9),
    "growth.*.over_proportion": ("at most", 1.25),
}
PATTERNS_IN_TURN = 4  # with dense attention: the machine may slow down meanwhile
LEAST_SHARE = 0.05  # of dense attention's blocks, from which on a sparse pattern has a target


@dataclasses.dataclass(frozen=True)
class AttentionSizes:
    """Lengths, shapes and rounds of the suite `attention`.

    Attributes:
      dense: positions of dense attention.
      sparse: positions of the sparse patterns, and of the band against its rivals.
      growth: positions of the band whose time should grow in proportion to them.
      window: of the band.
      large, small: fields of the sparse patterns, as of `registered_patterns`.
      heads, head_dim: of all.
      rounds: how often programs run in turn.
      few_rounds: the same where a round takes half a minute.
    """

    dense: int = 4096
    sparse: int = 8192
    growth: tuple[int, int] = (16_384, 131_072)
    window: int = 256
    large: int = 512
    small: int = 8
    heads: int = 8
    head_dim: int = 64
    rounds: int = 5
    few_rounds: int = 3

    @property
    def band(self) -> Pattern:
        """A band of the window."""
        return parse(f"banded(window={self.window})")[0]

    def shape(self, length: int) -> Shape:
        """Shape of the arrays of a text of `length` positions."""
        return Shape(length, self.heads, self.head_dim, "bfloat16" if _on_gpu() else "float32")


@SUITES.register("attention")
def attention() -> dict[str, Any]:
    """Runs the whole suite, in about five minutes on two CPU cores."""
    return measure_attention(AttentionSizes())


def measure_attention(sizes: AttentionSizes) -> dict[str, Any]:
    """Runs the suite's four parts, each in both directions, with targets where this is a CPU."""
    parts = {"dense": _dense, "banded": _banded, "sparse": _sparse, "growth": _growth}
    figures = {
        name: {direction: part(sizes, backward) for direction, backward in DIRECTIONS.items()}
        for name, part in parts.items()
    }
    return with_targets(figures, {} if _on_gpu() else CPU_TARGETS)


def _dense(sizes: AttentionSizes, backward: bool) -> dict[str, Any]:
    """Dense causal attention against its rivals and the matmul peak."""
    shape, name = sizes.shape(sizes.dense), _rival_name()
    ours, rival = _blockwise(shape, Dense(), backward), _rival(shape, backward)
    programs: dict[str, TimedProgram] = {
        "blockwise": ours,
        name: rival,
        "matmul_flop": lambda: 1 / matmul_peak_flops(shape.dtype),
    }
    with _with_torch("sdpa", shape, backward, programs) as missing:
        seconds = interleaved(programs, sizes.rounds)
    pairs = sizes.heads * count_pairs(in_order(Dense()), shape.length)
    flops = forward_flops(pairs, sizes.head_dim)
    flops += backward_flops(pairs, sizes.head_dim) if backward else 0
    figures = medians(seconds) | {
        f"{name}_over_blockwise": ratio(seconds, name, "blockwise"),
        "blockwise_bytes": ours.bytes,
        f"{name}_bytes": rival.bytes,
        f"memory_over_{name}": ours.bytes / rival.bytes,
        "useful_over_matmul_peak": flops * ratio(seconds, "matmul_flop", "blockwise"),
    }
    if "sdpa" in seconds:
        figures["blockwise_over_sdpa"] = ratio(seconds, "blockwise", "sdpa")
    return figures | missing


def _banded(sizes: AttentionSizes, backward: bool) -> dict[str, Any]:
    """A band against dense attention, and against FlexAttention where that can run."""
    shape, name = sizes.shape(sizes.sparse), _rival_name()
    ours = _blockwise(shape, sizes.band, backward)
    programs: dict[str, TimedProgram] = {"blockwise": ours}
    figures: dict[str, Any] = {}
    if _on_gpu() or not backward:
        with _with_torch("flex", shape, backward, programs, window=sizes.window) as missing:
            seconds = interleaved(programs, 2 * sizes.rounds)
        figures = medians(seconds) | missing
        if "flex" in seconds:
            figures["blockwise_over_flex"] = ratio(seconds, "blockwise", "flex")
    if _on_gpu() or backward:
        # The band takes a hundredth of its rival's time: one burst of other work would triple it.
        programs = {
            "blockwise": lambda: statistics.median(ours() for _ in range(sizes.rounds)),
            name: _rival(shape, backward),
        }
        seconds = interleaved(programs, sizes.few_rounds)
        figures |= medians(seconds)
        figures[f"{name}_over_blockwise"] = ratio(seconds, name, "blockwise")
    return figures


def _sparse(sizes: AttentionSizes, backward: bool) -> dict[str, Any]:
    """Every registered pattern against its share, by blocks, of dense blockwise attention.

    Blocks that are not empty in the order of the text, also where factors visit fewer.
    """
    shape, dense = sizes.shape(sizes.sparse), Dense()
    patterns = [p for p in registered_patterns(sizes.large, sizes.small) if p != dense]
    ours = _blockwise(shape, dense, backward)
    dense_seconds, over_dense = [], {}
    for start in range(0, len(patterns), PATTERNS_IN_TURN):
        some = patterns[start : start + PATTERNS_IN_TURN]
        programs = {str(p): _blockwise(shape, p, backward) for p in some}
        seconds = interleaved({"dense": ours, **programs}, sizes.few_rounds)
        dense_seconds += seconds["dense"]
        over_dense |= {name: ratio(seconds, name, "dense") for name in programs}
    dense_pairs = executed_pairs(dense, shape.length)
    visited = {str(p): executed_pairs(p, shape.length, factorized=False) for p in patterns}
    share = {name: pairs / dense_pairs for name, pairs in visited.items()}
    over_share = {p: over_dense[p] / share[p] for p in share if share[p] >= LEAST_SHARE}
    return {
        "dense_seconds": statistics.median(dense_seconds),
        "share_of_dense": share,
        "over_dense": over_dense,
        "over_share_of_dense": over_share,
    }


def _growth(sizes: AttentionSizes, backward: bool) -> dict[str, Any]:
    """A band at two lengths: whether time is in proportion to them, and memory at the longer."""
    short, long = sizes.growth
    programs = {str(n): _blockwise(sizes.shape(n), sizes.band, backward) for n in sizes.growth}
    seconds = interleaved(programs, sizes.few_rounds)
    growth = ratio(seconds, str(long), str(short))
    return medians(seconds) | {
        "over_proportion": growth / (long / short),
        "bytes": programs[str(long)].bytes,
    }


def _on_gpu() -> bool:
    return jax.default_backend() == "gpu"


def _blockwise(shape: Shape, pattern: Pattern, backward: bool) -> AttentionProgram:
    attention = functools.partial(attend, pattern=pattern, impl="blockwise")
    return AttentionProgram(shape, attention, backward=backward)


def _rival_name() -> Literal["cudnn", "xla"]:
    return "cudnn" if _on_gpu() else "xla"


def _rival(shape: Shape, backward: bool) -> AttentionProgram:
    """JAX's own dense causal attention."""
    attention = functools.partial(
        jax.nn.dot_product_attention, is_causal=True, implementation=_rival_name()
    )
    return AttentionProgram(shape, attention, backward=backward)


@contextlib.contextmanager
def _with_torch(
    program: str, shape: Shape, backward: bool, programs: dict[str, TimedProgram], window: int = 0
) -> Iterator[dict[str, str]]:
    """Adds a program of PyTorch's to `programs`; yields its version, or why it is missing."""
    arguments = dataclasses.asdict(shape) | {"backward": backward, "window": window}
    with contextlib.ExitStack() as stack:
        try:
            run, version = stack.enter_context(
                torch_program("attention", program=program, **arguments)
            )
        except ValueError as error:
            yield {program: str(error)}
        else:
            programs[program] = run
            yield {"torch": version}
