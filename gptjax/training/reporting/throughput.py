"""Throughput of a run: tokens a second, and the share of the devices' peak FLOPs (MFU).

throughput = Throughput(model_flops_per_token, executed_flops_per_token, matmul_peak_flops())
throughput.add(tokens)
row |= throughput.take()
"""

import functools
import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp


class Throughput:
    """Tokens a second and model FLOPs utilisation over the window since they were last taken."""

    def __init__(
        self,
        model_flops_per_token: float,
        executed_flops_per_token: float,
        peak_flops_per_second: float | None = None,
        *,
        scale: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts a window; FLOPs are of all devices together, and without a known peak MFU is None.

        Args:
          model_flops_per_token: as if attention were dense.
          executed_flops_per_token: of the pairs that are computed.
          peak_flops_per_second: of all devices.
          scale: tokens that are computed for each that is added.
          clock: in seconds.

        Source: MFU = model FLOPs a second / peak FLOPs a second (PaLM, 2204.02311, appendix B).
        """
        self._flops_per_token = {
            "mfu": model_flops_per_token,
            "executed_mfu": executed_flops_per_token,
        }
        self._peak_flops_per_second = peak_flops_per_second
        self._scale = scale
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Begins a new window now: after compilation, an evaluation or a save."""
        self._tokens = 0
        self._since = self._clock()

    def add(self, tokens: int) -> None:
        """Counts the tokens of a step."""
        self._tokens += tokens

    def take(self) -> dict[str, float | None]:
        """Tokens a second, `mfu` and `executed_mfu` (0 to 1, or None); begins a new window."""
        seconds = self._clock() - self._since
        tokens_per_second = self._scale * self._tokens / seconds if seconds > 0 else 0.0
        peak = self._peak_flops_per_second
        utilisation = {
            name: None if peak is None else tokens_per_second * flops / peak
            for name, flops in self._flops_per_token.items()
        }
        self.restart()
        return {"tokens_per_second": tokens_per_second, **utilisation}


def matmul_peak_flops(dtype: str = "float32") -> float:
    """Measures the default device's matmul FLOP/s: the best of many square products, in 0.4 s.

    Args:
      dtype: of the operands, "float32" (at JAX's default precision) or "bfloat16".
    """
    size = 1024 if jax.default_backend() == "cpu" else 8192
    products = 4  # in one call, so that dispatching it does not count
    operand = jnp.full((size, size), 1.0 / size, dtype)
    multiply = jax.jit(lambda a, b: functools.reduce(jnp.matmul, [b] * products, a))
    multiply(operand, operand).block_until_ready()
    best, deadline = math.inf, time.perf_counter() + 0.25
    while (start := time.perf_counter()) < deadline:
        multiply(operand, operand).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return products * 2 * size**3 / best
