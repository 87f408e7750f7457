"""Where arrays live: a mesh, and the sharding of state and batches on it.

mesh = make_mesh(config.parallelism)
batch = put_batch(next(batches), mesh)
"""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gptjax.config import ParallelismConfig


def make_mesh(config: ParallelismConfig) -> Mesh:
    """A mesh with one axis, "data": one device under `single`, `config.data` or all under `mesh`.

    Raises:
      ValueError: more devices are asked for than there are.
    """
    devices = jax.devices()
    count = 1 if config.strategy == "single" else (config.data or len(devices))
    if count > len(devices):
        raise ValueError(
            f"config.parallelism.data: got {count}, expected at most the {len(devices)} devices "
            "there are"
        )
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device of the mesh."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Arrays [B, ...] with their rows divided over the mesh's data axis.

    Raises:
      ValueError: the batch does not divide.
    """
    rows, shards = len(next(iter(batch.values()))), mesh.shape["data"]
    if rows % max(shards // jax.process_count(), 1):
        raise ValueError(
            f"config.training.batch_size: got {rows} rows, expected a multiple of the {shards} "
            "devices of config.parallelism.data"
        )
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }
