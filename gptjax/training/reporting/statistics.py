"""Norms of each layer's gradient and output on demand: for one batch, apart from its step.

The training step stays as it is, and as fast; a step with statistics costs twice as much.

    statistics = layer_statistics(sums, model, mesh)
    statistics(state, batch, seed)["gradient_norm"]   # [num_layers], of what is trained
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gptjax.models.adapters import Base, joined
from gptjax.models.decoder import Decoder
from gptjax.training.gradients import GradientSums
from gptjax.training.losses import Batch
from gptjax.training.partitioning import traced_on
from gptjax.training.state import TrainState, rng

Statistics = Callable[..., dict[str, jax.Array]]


def layer_statistics(sums: GradientSums, model: Decoder, mesh: Mesh) -> Statistics:
    """A function from the state before a step, its batch, seed and base to sizes by layer.

    Args:
      sums: as of the training step.
      model: whose outputs are measured, with dropout off.
      mesh: where state and batch live.

    Returns:
      Its results are float32 [num_layers]: `gradient_norm`, over all of a layer's parameters
      that are trained, before clipping, and `gradient_rms`, the same by the square root of their
      number; `activation_rms` and `activation_max`, the largest magnitude, of what a layer puts
      out.
    """

    def statistics(
        state: TrainState, batch: Batch, seed: jax.Array, base: Base | None = None
    ) -> dict[str, jax.Array]:
        dropout = jax.random.fold_in(rng(seed, "dropout"), state.step)
        (_, weight, _), grad_sums = sums(state.params, batch, dropout, base)
        layers = jax.tree.leaves(grad_sums["trunk"]["layers"])
        squares = [jnp.sum(jnp.square(leaf / weight), range(1, leaf.ndim)) for leaf in layers]
        norm = jnp.sqrt(sum(squares))
        count = sum(math.prod(leaf.shape[1:]) for leaf in layers)
        seen: Any
        _, seen = model.apply(
            {"params": joined(state.params, base)},
            batch["tokens"],
            segment_ids=batch.get("segment_ids"),
            positions=batch.get("positions"),
            method="hidden",
            mutable=["statistics"],
        )
        (outputs,) = seen["statistics"]["trunk"]["layers"]
        return {
            "gradient_norm": norm,
            "gradient_rms": norm / math.sqrt(count),
            "activation_rms": outputs["rms"],
            "activation_max": outputs["max"],
        }

    whole = NamedSharding(mesh, PartitionSpec())
    return jax.jit(traced_on(mesh, statistics), out_shardings=whole)
