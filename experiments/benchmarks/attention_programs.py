"""Attention compiled for one length, forward or forward and backward, ready to be timed.

program = AttentionProgram(Shape(4096, 8, 64, "float32"), attention, backward=True)
seconds, bytes = program(), program.bytes
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax

from gptjax.training.memory import planned_bytes


@dataclasses.dataclass(frozen=True)
class Shape:
    """Shape of queries, keys and values [1, T, H, D]."""

    length: int
    heads: int
    head_dim: int
    dtype: str


@functools.cache
def _normal(shape: Shape) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(0), 3)
    axes = (1, shape.length, shape.heads, shape.head_dim)
    return tuple(jax.random.normal(key, axes, shape.dtype) for key in keys)


class AttentionProgram:
    """One compiled program; a call runs it once and returns its seconds.

    Attributes:
      bytes: of memory that it needs, arguments and results included.
    """

    def __init__(self, shape: Shape, attention: Callable[..., jax.Array], *, backward: bool):
        """Compiles `attention(q, k, v)`, or with it its gradients for its output as cotangent."""

        def with_gradients(*arguments: jax.Array) -> Any:
            out, pull = jax.vjp(attention, *arguments)
            return out, pull(out)

        self._arguments = _normal(shape)
        program = jax.jit(with_gradients if backward else attention)
        self._compiled = program.lower(*self._arguments).compile()
        self.bytes = planned_bytes(self._compiled)

    def __call__(self) -> float:
        began = time.perf_counter()
        jax.block_until_ready(self._compiled(*self._arguments))
        return time.perf_counter() - began
