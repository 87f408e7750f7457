"""Costs of a model and of a step of its training, and the shapes of a batch.

costs_of_model(config.model).flops_per_token * tokens
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.config import ModelConfig
from gptjax.models.costs import (
    executed_training_flops_per_token,
    parameter_count,
    training_flops_per_token,
)

Shapes = dict[str, jax.ShapeDtypeStruct]


@dataclasses.dataclass(frozen=True)
class Costs:
    """Costs of a model, by the formulas of `gptjax.models.costs`.

    Attributes:
      parameters: of the model.
      flops_per_token: FLOPs of training, as if attention were dense.
      executed_flops_per_token: FLOPs of training, with the pairs that are computed alone.
    """

    parameters: int
    flops_per_token: float
    executed_flops_per_token: float


def costs_of_model(model: ModelConfig, *, scalar_head: bool = False, causal: bool = True) -> Costs:
    """The costs of a stack of layers with a head.

    Args:
      model: resolved.
      scalar_head: whether one number stands in place of the logits.
      causal: whether positions see those before them alone; an encoder's see all.
    """
    return Costs(
        parameter_count(model, scalar_head=scalar_head),
        training_flops_per_token(model, scalar_head=scalar_head),
        executed_training_flops_per_token(model, scalar_head=scalar_head, causal=causal),
    )


def array(*shape: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
    """The shape of one array of a batch."""
    return jax.ShapeDtypeStruct(shape, dtype)
