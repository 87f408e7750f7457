"""Sums of a loss over a batch and their gradient: at once, in microbatches, or by device.

Sums are added up over microbatches and over devices, for any weight in each. The caller divides
once, by the total weight.

    sums, grads = gradient_sums(loss, accumulate=4)(params, batch, rng)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from gptjax.models.adapters import joined
from gptjax.training.losses import Batch, Loss

Sums = tuple[jax.Array, jax.Array, dict[str, jax.Array]]  # what a loss returns
GradientSums = Callable[..., tuple[Sums, Any]]  # of (params, batch, rng, base=None)


def gradient_sums(loss: Loss, accumulate: int = 1) -> GradientSums:
    """A function from (params, batch, rng) to what `loss` returns, and the gradient of its sum.

    With LoRA it takes a fourth argument, the base of `adapters.joined`, and `params` are adapters.

    Args:
      loss: whose weight does not depend on the parameters.
      accumulate: microbatches, which are computed one after another; a divisor of the rows. Each
        draws its own random bits.
    """

    def at_once(params: Any, batch: Batch, rng: jax.Array, base: Any = None) -> tuple[Sums, Any]:
        def loss_sum(params: Any) -> tuple[jax.Array, Any]:
            total, weight, metric_sums = loss(joined(params, base), batch, rng)
            return total, (weight, metric_sums)

        (total, others), grads = jax.value_and_grad(loss_sum, has_aux=True)(params)
        return (total, *others), grads

    def in_parts(params: Any, batch: Batch, rng: jax.Array, base: Any = None) -> tuple[Sums, Any]:
        def part(rows: Batch, i: Any) -> tuple[Sums, Any]:
            return at_once(params, rows, jax.random.fold_in(rng, i), base)

        def add(total: Any, rows_and_index: tuple[Batch, jax.Array]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, part(*rows_and_index)), None

        # Every accumulate-th row, so that each device of a mesh divides up its own rows.
        parts = {
            name: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1)
            for name, x in batch.items()
        }
        first = {name: x[0] for name, x in parts.items()}
        shapes = jax.eval_shape(part, first, 0)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(add, nothing, (parts, jnp.arange(accumulate)))[0]

    return at_once if accumulate == 1 else in_parts


def on_each_device(sums: GradientSums, mesh: Mesh) -> GradientSums:
    """`sums` of each device's own rows, added up over the devices at the end: data parallelism.

    One program for a device and one sum over the devices' axis, as `jax.pmap` with `psum`, which
    is itself a `shard_map` by now. Parameters are whole on every device.

    Args:
      sums: draws no random bits, which would be those of a device's rows.
      mesh: its axis "data" divides the rows.
    """

    def on_one(params: Any, batch: Batch, rng: jax.Array, base: Any = None) -> tuple[Sums, Any]:
        return jax.lax.psum(sums(params, batch, rng, base), "data")

    whole, rows = PartitionSpec(), PartitionSpec("data")
    divided = jax.shard_map(
        on_one, mesh=mesh, in_specs=(whole, rows, whole, whole), out_specs=whole, check_vma=False
    )
    return lambda params, batch, rng, base=None: divided(params, batch, rng, base)
