"""Differences of each implementation from the reference, found by running both.

rows = parity(pattern)
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.attention import IMPLEMENTATIONS, Pattern, attend

LENGTHS = (301, 512)  # one with a short last block, one that strides and blocks divide
HEAD_DIM = 16
DTYPES = ("float32", "bfloat16")


def parity(pattern: Pattern) -> list[dict[str, Any]]:
    """Runs all implementations in all dtypes, forward and backward.

    All start from the same numbers, which bfloat16 can hold. Errors are the largest absolute
    differences from the reference in float32, over the output and over the gradients of q, k, v,
    at all LENGTHS.

    Returns:
      For each: `implementation`, `dtype`, and either `output_error` and `gradient_error` or
      `refused`, in the words of `attend`.
    """
    numbers = [_numbers(pattern, length) for length in LENGTHS]
    expected = [_results(pattern, "reference", "float32", some) for some in numbers]
    rows = []
    for dtype in DTYPES:
        for name in IMPLEMENTATIONS:
            row: dict[str, Any] = {"implementation": name, "dtype": dtype}
            try:
                got = [_results(pattern, name, dtype, some) for some in numbers]
            except ValueError as error:
                row["refused"] = str(error)
            else:
                errors = jax.tree.map(_largest_difference, got, expected)
                row["output_error"] = max(out for out, *_ in errors)
                row["gradient_error"] = max(max(gradients) for _, *gradients in errors)
            rows.append(row)
    return rows


def _numbers(pattern: Pattern, length: int) -> list[jax.Array]:
    """Queries, keys, values and the output's cotangent, enough heads for all of the pattern's."""
    shape = (1, length, max(2, len(pattern.per_head())), HEAD_DIM)
    keys = jax.random.split(jax.random.key(length), 4)
    return [jax.random.normal(key, shape, "bfloat16") for key in keys]


def _results(pattern: Pattern, impl: str, dtype: str, numbers: list[jax.Array]) -> list[jax.Array]:
    """The output, and the gradients of q, k and v."""

    def both(*numbers: jax.Array) -> list[jax.Array]:
        *arguments, cotangent = numbers
        out, pull = jax.vjp(functools.partial(attend, pattern=pattern, impl=impl), *arguments)
        return [out, *pull(cotangent)]

    return jax.jit(both)(*(x.astype(dtype) for x in numbers))


def _largest_difference(x: jax.Array, y: jax.Array) -> float:
    return float(jnp.abs(x.astype("float32") - y.astype("float32")).max())
