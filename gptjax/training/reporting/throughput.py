"""Throughput of a run: tokens a second, and the share of the devices' peak FLOPs (MFU).

peak = peak_flops("bfloat16").flops_per_second
throughput = Throughput(model_flops_per_token, executed_flops_per_token, peak)
throughput.add(tokens)
row |= throughput.take()
"""

import contextlib
import dataclasses
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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

    def computed(self, tokens: int) -> int:
        """The tokens that are computed for so many that are added."""
        return round(self._scale * tokens)

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


# Dense matmul TFLOP/s of a device as its maker publishes them: with bfloat16 operands, and with
# float32 ones at JAX's default precision, which is TF32 on GPUs and bfloat16 on TPUs. A device is
# the first of these whose name begins its `device_kind`.
# Source: NVIDIA's data sheets of A100, L4, H100, H200 (SXM), B200; cloud.google.com/tpu/docs.
_PUBLISHED_TFLOPS = {
    "NVIDIA A100": (312.0, 156.0),
    "NVIDIA L4": (121.0, 60.0),
    "NVIDIA H100 80GB HBM3": (989.0, 494.0),
    "NVIDIA H200": (989.0, 494.0),
    "NVIDIA B200": (2250.0, 1100.0),
    "TPU v4": (275.0, 275.0),
    "TPU v5 lite": (197.0, 197.0),
    "TPU v5": (459.0, 459.0),
    "TPU v6 lite": (918.0, 918.0),
}

_FEWEST_CALLS = 8
_UNITS = ((1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"))


@dataclasses.dataclass(frozen=True)
class Peak:
    """Matmul FLOPs that one device can do in a second.

    Attributes:
      flops_per_second: of them; None: not known.
      source: where that is from: "published" or "measured", or why it is not known.
    """

    flops_per_second: float | None
    source: str

    def of_devices(self, count: int) -> float | None:
        """The peak of so many devices together, where it is known."""
        return None if self.flops_per_second is None else count * self.flops_per_second


def peak_flops(dtype: str) -> Peak:
    """The peak of the default device: as published, or else measured in about 0.3 s.

    Args:
      dtype: of the operands, "float32" (at JAX's default precision) or "bfloat16".
    """
    kind = jax.local_devices()[0].device_kind
    for name, tflops in _PUBLISHED_TFLOPS.items():
        if kind.startswith(name):
            return Peak(1e12 * tflops[dtype == "float32"], "published")
    if jax.default_backend() == "cpu":
        return _cpu_peak(dtype)
    return Peak(matmul_peak_flops(dtype), "measured")


def _cpu_peak(dtype: str) -> Peak:
    """FLOP/s of all cores, from the seconds that they work for this process, in about 0.3 s.

    What else runs on the machine takes seconds on the clock, not of these. A median: the best is of
    moments in which a core had what it shares with another one to itself. It is not known where
    calls are few, or the middle half of them differ by more than a tenth.
    """
    multiply, flops = _products(dtype, size=512, count=2)
    cores = available_cores()
    seconds = list(_timed(multiply, 0.2, time.process_time))
    if len(seconds) >= _FEWEST_CALLS:
        first, median, third = statistics.quantiles(seconds, n=4)
        if third <= 1.1 * first:
            return Peak(cores * flops / median, "measured")
    return Peak(None, "not known: the machine is too busy to measure it")


def available_cores(cgroups: Path = Path("/sys/fs/cgroup")) -> float:
    """Cores that this process may use at the same time; a container's quota may be a part of one.

    Args:
      cgroups: where the quota is read from, of version 2 or 1.
    """
    cores = float(len(os.sched_getaffinity(0)))
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no quota
            quota, period = map(int, " ".join((cgroups / x).read_text() for x in names).split())
            if quota > 0:
                cores = min(cores, quota / period)
    return cores


def matmul_peak_flops(dtype: str = "float32") -> float:
    """Measures the default device's matmul FLOP/s now: the best of many square products, in 0.4 s.

    Args:
      dtype: as of `peak_flops`.
    """
    size = 1024 if jax.default_backend() == "cpu" else 8192
    multiply, flops = _products(dtype, size, count=4)
    return flops / min(_timed(multiply, 0.25, time.perf_counter))


def _products(dtype: str, size: int, count: int) -> tuple[Callable[[], Any], int]:
    """A call that multiplies square matrices so many times, and its FLOPs.

    There are several products in one call, so that dispatching it does not count.
    """
    operand = jnp.full((size, size), 1.0 / size, dtype)
    multiply = jax.jit(lambda a, b: functools.reduce(jnp.matmul, [b] * count, a))
    return lambda: multiply(operand, operand).block_until_ready(), count * 2 * size**3


def _timed(call: Callable[[], Any], seconds: float, timer: Callable[[], float]) -> Iterator[float]:
    """What `timer` says of each of the calls that begin within so many seconds, after a first."""
    call()
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        start = timer()
        call()
        yield timer() - start


def flops_a_second(value: float) -> str:
    """FLOP/s for people: 205 GFLOP/s."""
    unit, name = next((each for each in _UNITS if value >= each[0]), _UNITS[-1])
    return f"{value / unit:,.3g} {name}"
