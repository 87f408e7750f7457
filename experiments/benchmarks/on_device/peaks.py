"""What a device can do at most: matmul FLOPs and bytes of its memory a second.

peaks = device_peaks("bfloat16", stream=1 << 30)
"""

import time
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.training.reporting.throughput import matmul_peak_flops, peak_flops

# Bytes a second of a device's memory as its maker publishes them; a device is the first of these
# whose name begins its `device_kind`.
# Source: NVIDIA's data sheets of A100 (40 and 80 GB, SXM), L4, H100 (SXM), H200 (SXM), B200;
# cloud.google.com/tpu/docs.
_PUBLISHED_GB = {
    "NVIDIA A100-SXM4-40GB": 1555.0,
    "NVIDIA A100-SXM4-80GB": 2039.0,
    "NVIDIA L4": 300.0,
    "NVIDIA H100 80GB HBM3": 3350.0,
    "NVIDIA H200": 4800.0,
    "NVIDIA B200": 8000.0,
    "TPU v4": 1200.0,
    "TPU v5 lite": 819.0,
    "TPU v5": 2765.0,
    "TPU v6 lite": 1640.0,
}
TIMES = 5


def device_peaks(dtype: str, stream: int) -> dict[str, Any]:
    """Peaks of the default device, as published where they are known, and as measured now.

    Args:
      dtype: of a matmul's operands.
      stream: bytes that are read to measure the memory's bandwidth.
    """
    published = peak_flops(dtype)
    kind = jax.local_devices()[0].device_kind
    known = next((x for name, x in _PUBLISHED_GB.items() if kind.startswith(name)), None)
    matmul, bandwidth = matmul_peak_flops(dtype), _read_bandwidth(stream)
    return {
        "flops_per_second": published.flops_per_second or matmul,
        "flops_source": published.source if published.flops_per_second else "measured",
        "bytes_per_second": bandwidth if known is None else 1e9 * known,
        "bytes_source": "measured" if known is None else "published",
        "measured_matmul_flops_per_second": matmul,
        "measured_read_bytes_per_second": bandwidth,
    }


def _read_bandwidth(stream: int) -> float:
    """Bytes a second of the fastest of some sums of an array of `stream` bytes."""
    numbers, total = jnp.ones(stream // 4, jnp.float32), jax.jit(jnp.sum)
    total(numbers).block_until_ready()  # compiles
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        total(numbers).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return stream / min(seconds)
