"""Partitioning: a mesh, and how parameters, activations and batches are divided over it.

Rows of a batch are divided over the axes `data` and `fsdp`, positions over `sequence`. `fsdp` also
divides every large parameter and its optimizer state; those of a layer are gathered when the layer
is computed (ZeRO-3, arXiv 1910.02054, section 5); `tensor` divides heads, feed-forward and
vocabulary (Megatron, arXiv 1909.08053, section 3).

    mesh = make_mesh(config.parallelism)
    model = GPT(config.model, **model_attributes(config, mesh))
    target = placed(jax.eval_shape(init), mesh)
    batch = put_batch(next(batches), mesh)
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gptjax import attention
from gptjax.attention.device import Device, asked, traced_for
from gptjax.attention.implementations.context_parallel import context_parallel
from gptjax.batch_schedule import BatchShare
from gptjax.config import ExperimentConfig, ParallelismConfig, batch_schedule
from gptjax.training.device_order import ordered
from gptjax.training.parameters import path_of, rule_of

AXES = ("data", "fsdp", "sequence", "tensor")

P = ParamSpec("P")
R = TypeVar("R")


# What the modules call the axes of activations -> the mesh axes that divide them.
ACTIVATIONS: dict[str | None, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "sequence": "sequence",
    "heads": "tensor",
    "ff": "tensor",
    "vocab": "tensor",
    "embed": None,
    None: None,
}


def mesh_shape(config: ParallelismConfig, num_devices: int) -> tuple[int, ...]:
    """The sizes of AXES on so many devices: all 1 where strategy is single.

    Raises:
      ValueError: the sizes of the axes do not multiply to the number of devices.
    """
    devices = 1 if config.strategy == "single" else num_devices
    others = config.fsdp * config.tensor * config.sequence
    data = config.data or max(1, devices // others)
    if data * others != devices:
        given = f"{config.data or 'none'}, fsdp={config.fsdp}"
        raise ValueError(
            f"config.parallelism: got data={given}, tensor={config.tensor}, sequence="
            f"{config.sequence}, expected sizes whose product is {devices}, the devices there are"
        )
    return data, config.fsdp, config.sequence, config.tensor


def make_mesh(config: ParallelismConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a resolved `config`, with all of AXES: one device where strategy is single.

    Args:
      config: sizes of the axes.
      devices: all there are, by default.

    Raises:
      ValueError: as `mesh_shape` and `device_order.ordered`.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(config, len(devices))
    arranged = ordered(devices[: math.prod(shape)], shape)
    return Mesh(arranged, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def device_of(mesh: Mesh) -> Device:
    """What attention is to know of the devices of `mesh`, which need not be at hand."""
    first = mesh.devices.flat[0]
    platform = "gpu" if first.platform in ("cuda", "rocm") else first.platform
    return Device(platform, getattr(first, "compute_capability", ""), mesh.size)


def traced_on(mesh: Mesh, function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which when it is traced chooses its implementations for the devices of `mesh`.

    Else it would choose for all devices of its process, and a run would not be a function of its
    configuration. `compiling_for` may still name others.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return traced_for(asked() or device_of(mesh), function)(*args, **kwargs)

    return call


def num_chips(mesh: Mesh) -> int:
    """Devices of the mesh with cores of their own: virtual CPU devices share the machine's."""
    return 1 if mesh.devices.flat[0].platform == "cpu" else mesh.size


def _spec(path: str, shape: tuple[int, ...], mesh: Any) -> PartitionSpec:
    axes = rule_of(path, len(shape)).axes
    for size, axis in zip(shape, axes, strict=True):
        if axis is not None and size % mesh.shape[axis]:
            raise ValueError(
                f"config.parallelism.{axis}: got {mesh.shape[axis]}, expected a divisor of {size}, "
                f"the size of the axis of parameter {path} {list(shape)} that it divides"
            )
    return PartitionSpec(*axes)


def placed(state: Any, mesh: Any) -> Any:
    """`state` as `jax.ShapeDtypeStruct`s that say where each leaf lives.

    A leaf is identified by `parameters.path_of`: an optimizer's `mu` of a parameter lives where the
    parameter does. Leaves without a path, such as counts, are copied to every device.

    Args:
      state: a tree of arrays or of their shapes.
      mesh: with AXES; an abstract mesh will do.

    Raises:
      ValueError: naming a parameter that no rule covers, or that an axis does not divide.
    """

    def place(keys: Any, leaf: Any) -> jax.ShapeDtypeStruct:
        path = path_of(keys)
        spec = _spec(path, leaf.shape, mesh) if path else PartitionSpec()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree_util.tree_map_with_path(place, state)


def model_attributes(config: ExperimentConfig, mesh: Mesh) -> dict[str, Any]:
    """Attributes of a model of a resolved `config` that divide its computation over the mesh."""
    parallelism = config.parallelism
    if parallelism.strategy != "mesh":
        return {}
    queries = _sharding(mesh, "batch", "sequence", "heads", None)
    if parallelism.sequence > 1:
        attend = context_parallel(queries, parallelism.sequence_attention)
    else:
        queries = _sharding(mesh, "batch", None, "heads", None)
        attend = functools.partial(attention.attend, sharding=queries)

    def constrain(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, _sharding(mesh, *axes))

    return {"attend": attend, "constrain": constrain}


def _sharding(mesh: Mesh, *axes: str | None) -> NamedSharding:
    """Sharding of an activation whose axes are called `axes`."""
    return NamedSharding(mesh, PartitionSpec(*(ACTIVATIONS[axis] for axis in axes)))


def check_divides(config: ExperimentConfig, mesh: Mesh) -> None:
    """Checks that every batch of a run, those of the ramp too, divides over the mesh.

    Raises:
      ValueError: one does not.
    """
    shards, parts = _row_shards(mesh), config.training.accumulate
    batches = batch_schedule(config)
    for step, size in batches.stages:
        if size == batches.batch_size:
            name, multiple, into = "batch_size", shards * parts, f"{parts} microbatches"
        else:
            name, multiple, into = "batch_ramp_start", shards, "one microbatch at least"
        if size % multiple:
            raise ValueError(
                f"config.training.{name}: got {size} sequences (from step {step}), expected a "
                f"multiple of {multiple}: {into} (training.accumulate) over {shards} devices "
                "(parallelism.data x fsdp)"
            )


def microbatches(config: ExperimentConfig, mesh: Mesh, rows: int) -> int:
    """The number of microbatches of a batch, which have no more rows than the largest batch's have.

    Args:
      config: resolved, as `check_divides` lets it pass.
      mesh: over which the batch is divided.
      rows: of the batch, on all devices.
    """
    each = rows // _row_shards(mesh)
    most = config.training.batch_size // (_row_shards(mesh) * config.training.accumulate)
    return next(n for n in range(1, each + 1) if each % n == 0 and each // n <= most)


def _row_shards(mesh: Mesh) -> int:
    """Parts into which the rows of a batch are divided."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def batch_sharding(mesh: Mesh, num_axes: int) -> NamedSharding:
    """Sharding of a batch's arrays [B] or [B, T], of one or two axes."""
    return _sharding(mesh, *("batch", "sequence")[:num_axes])


@functools.cache
def batch_share(mesh: Mesh) -> BatchShare:
    """The parts of each batch whose rows this process is to give `put_batch`, and of how many.

    Parts are of equal size. The devices of a host may hold parts that do not follow each other,
    and hosts may hold the same.

    Raises:
      ValueError: the devices of this process hold none.
    """
    shards = _row_shards(mesh)
    indices = batch_sharding(mesh, 1).addressable_devices_indices_map((shards,)).values()
    held = tuple(sorted({(index or (slice(None),))[0].start or 0 for index in indices}))
    if not held:
        raise ValueError(
            f"config.parallelism: got a mesh {dict(mesh.shape)} with no device of process "
            f"{jax.process_index()} of {jax.process_count()}, expected one of all devices "
            "(strategy=mesh or pmap)"
        )
    return held, shards


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of arrays [B] or [B, T], divided over the mesh."""
    if jax.process_count() == 1:
        return {
            name: jax.device_put(array, batch_sharding(mesh, array.ndim))
            for name, array in batch.items()
        }
    held, shards = batch_share(mesh)

    def put(array: np.ndarray) -> jax.Array:
        size = len(array) // len(held)

        def of_a_device(index: Any) -> np.ndarray:
            row = held.index((index[0].start or 0) // size) * size
            return array[(slice(row, row + size), *index[1:])]

        shape = size * shards, *array.shape[1:]
        return jax.make_array_from_callback(
            shape, batch_sharding(mesh, array.ndim), of_a_device, dtype=array.dtype
        )

    return {name: put(array) for name, array in batch.items()}
