"""Costs of a model and of a step of its training, the shapes of a batch, and the plan of a run.

costs_of_model(config.model).flops_per_token * tokens
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.config import ModelConfig
from gptjax.models.costs import (
    executed_training_flops_per_token,
    matmul_parameters,
    parameter_count,
    training_flops_per_token,
)
from gptjax.training.memory import planned_bytes

Shapes = dict[str, jax.ShapeDtypeStruct]


@dataclasses.dataclass(frozen=True)
class Costs:
    """Costs of a model, by the formulas of `gptjax.models.costs`.

    Attributes:
      parameters: of the model.
      flops_per_token: FLOPs of training, as if attention were dense.
      executed_flops_per_token: FLOPs of training, counting only the pairs that are computed.
    """

    parameters: int
    flops_per_token: float
    executed_flops_per_token: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """Memory and FLOPs of a run on a mesh, by the names of a dry run's figures.

    Attributes:
      trees: shapes, with shardings, of the arrays that the run always holds.
      outside: names of the trees that the largest compiled program does not take.
      bytes: on each device, of everything else that is held outside that program.
      flops: of a step.
    """

    trees: Mapping[str, Any]
    outside: tuple[str, ...]
    bytes: Mapping[str, int]
    flops: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class LargestProgram:
    """The compiled program of a run that needs most memory.

    Attributes:
      compiled: nothing of it is run.
      shared_bytes: on each device, of arguments that are one array and are counted twice.
    """

    compiled: jax.stages.Compiled
    shared_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Bytes on each device."""
        return planned_bytes(self.compiled) - self.shared_bytes


def costs_of_model(
    model: ModelConfig,
    *,
    scalar_head: bool = False,
    causal: bool = True,
    adapters: int | None = None,
) -> Costs:
    """The costs of a stack of layers with a head.

    Args:
      model: resolved.
      scalar_head: whether one number stands in place of the logits.
      causal: whether a position sees only earlier positions; in an encoder it sees all.
      adapters: number of their parameters; kernels then have no gradient, which saves a third of
        their FLOPs. None: all parameters are trained.
    """
    more = 0
    if adapters is not None:
        more = 6 * adapters - 2 * matmul_parameters(model, scalar_head=scalar_head)
    return Costs(
        parameter_count(model, scalar_head=scalar_head),
        training_flops_per_token(model, scalar_head=scalar_head) + more,
        executed_training_flops_per_token(model, scalar_head=scalar_head, causal=causal) + more,
    )


def array(*shape: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
    """The shape of one array of a batch."""
    return jax.ShapeDtypeStruct(shape, dtype)
