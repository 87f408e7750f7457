"""Order of devices in a mesh, so that neighbours in it are neighbours in the machine.

`jax.make_mesh` refuses devices of several hosts of GPUs and of several TPU slices.

    devices = ordered(jax.devices(), (2, 4, 1, 1))
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.experimental import mesh_utils


def ordered(devices: Sequence[Any], shape: Sequence[int]) -> np.ndarray:
    """The devices as an array of `shape`, whose last axes exchange most and are nearest.

    Devices other than TPUs stand in the order of their numbers, host by host. TPUs stand as the
    torus of their slice has them, which scatters those of a host; the first axis goes over slices.

    Args:
      devices: as many as `shape` has places.
      shape: sizes of the axes of a mesh, "data" first.

    Raises:
      ValueError: the TPUs do not fit into this shape.
    """
    if devices[0].platform != "tpu":
        return np.array(sorted(devices, key=lambda device: device.id)).reshape(shape)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if shape[0] % slices:
        raise ValueError(
            f"config.parallelism.data: got {shape[0]}, expected a multiple of {slices}, the TPU "
            "slices there are: only gradients are exchanged between them"
        )
    try:
        if slices == 1:
            return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
        inner, outer = (shape[0] // slices, *shape[1:]), (slices, *(1 for _ in shape[1:]))
        return mesh_utils.create_hybrid_device_mesh(
            inner, outer, devices, allow_split_physical_axes=True
        )
    except AssertionError as error:  # so `mesh_utils` refuses devices that make no whole torus
        raise ValueError(
            f"config.parallelism: got a mesh {tuple(shape)}, expected one that the torus of the "
            f"TPUs can be divided into ({error})"
        ) from error
