"""Devices that are not at hand, which programs can be compiled for all the same.

devices = target_devices("h100", 8)      # needs JAX's plugin for them, not the devices
mesh = make_mesh(config.parallelism, devices)
compiled = kind.largest_program(config, mesh).compiled

A TPU needs the package libtpu (the extra `tpu`), a GPU the packages of jax[cuda12]. XLA then makes
the program that such a device runs, kernels, layouts and memory included; it times no kernels.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from jax.experimental import topologies

from gptjax.attention.device import Device

# What XLA is told of a GPU that it cannot ask. Source: NVIDIA's data sheet of H100 SXM and CUDA's
# table of compute capability 9.0; the fields are those of XLA's GpuTargetConfigProto.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


_WITHOUT_TPUS = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


GPUS_OF_A_HOST = 8
FEWEST_TPUS = 4  # of a topology; a program may be for fewer of them


def _h100(count: int) -> Any:
    hosts = -(-count // GPUS_OF_A_HOST)
    topology = f"1x{hosts}x{min(count, GPUS_OF_A_HOST)}"  # slices, their hosts, a host's GPUs
    return topologies.get_topology_desc("h100", "cuda", target_config=_H100, topology=topology)


def _v5e(count: int) -> Any:
    # Else libtpu asks the host which TPUs it has, and takes them for this process.
    for name, value in _WITHOUT_TPUS.items():
        os.environ.setdefault(name, value)
    count = max(count, FEWEST_TPUS)
    rows = 2 ** (round(math.log2(count)) // 2)
    return topologies.get_topology_desc(platform="tpu", topology_name=f"v5e:{rows}x{count // rows}")


_MAKERS: dict[str, Callable[[int], Any]] = {"h100": _h100, "v5e": _v5e}
_DEVICES = {"h100": Device("gpu", "9.0"), "v5e": Device("tpu")}


def target_device(name: str, count: int) -> Device:
    """What attention is to know of so many devices of a kind in `choices.TARGETS`."""
    return dataclasses.replace(_DEVICES[name], count=count)


def target_devices(name: str, count: int) -> Sequence[Any]:
    """So many devices of a kind in `choices.TARGETS`, for `make_mesh`; nothing can run on them.

    Raises:
      ValueError: JAX has no plugin for them here, or its makers know no such number of them.
    """
    try:
        devices = _MAKERS[name](count).devices
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(
            f"compile for {name}: got {count} devices and JAX says {why!r}, expected JAX's plugin "
            "for them (libtpu, or jax[cuda12]) and a number that they come in"
        ) from error
    if len(devices) < count:
        raise ValueError(f"compile for {name}: got {count} devices, expected a power of two")
    return devices[:count]
