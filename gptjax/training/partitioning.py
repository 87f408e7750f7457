"""Where arrays live: a mesh, and the sharding of state and batches on it.

mesh = make_mesh(config.parallelism)
check_divides(batch_schedule(config), mesh)
batch = put_batch(next(batches), mesh)
"""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gptjax.batch_schedule import BatchSchedule
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


def num_chips(mesh: Mesh) -> int:
    """Devices of the mesh with cores of their own: virtual CPU devices share the machine's."""
    return 1 if mesh.devices.flat[0].platform == "cpu" else mesh.size


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device of the mesh."""
    return NamedSharding(mesh, PartitionSpec())


def check_divides(batches: BatchSchedule, mesh: Mesh) -> None:
    """Checks that every batch of a run, those of the ramp too, divides over the data axis.

    Raises:
      ValueError: one does not.
    """
    shards = mesh.shape["data"]
    for step, size in batches.stages:
        if size % shards:
            name = "batch_size" if size == batches.batch_size else "batch_ramp_start"
            raise ValueError(
                f"config.training.{name}: got {size} sequences (from step {step}), expected a "
                f"multiple of the {shards} devices of config.parallelism.data"
            )


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of arrays [B, ...], divided over the mesh's data axis."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }
