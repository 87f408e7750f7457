"""Low-rank adapters beside frozen kernels: LoRA (Hu et al. 2021, arXiv 2106.09685, section 4.1).

Where a `Projection` has `lora_a` A and `lora_b` B beside its kernel W, it computes x W + (x A) B.
Neither W + A B nor the gradient of W is ever made, so that a frozen kernel costs its own bytes
alone. Trained are the adapters, in a tree with the names of the model's.

    base = Base(params, scale=alpha / rank)
    logits = model.apply({"params": joined(adapters, base)}, tokens)
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.pytrees import STATIC, pytree

A, B = "lora_a", "lora_b"


@pytree
@dataclasses.dataclass(frozen=True)
class Base:
    """Parameters that adapters stand beside.

    Attributes:
      params: of the whole model; never changed.
      scale: factor of A B: alpha / rank.
    """

    params: Any
    scale: float = dataclasses.field(metadata=STATIC)


def joined(trained: Any, base: Base | None) -> Any:
    """The parameters that a model computes with; no array of the base is copied.

    Args:
      trained: adapters, and whole parameters that take the place of the base's.
      base: None where all parameters are trained.

    Returns:
      A tree that any model takes. In its A is the scale.
    """
    return trained if base is None else _beside(base.params, trained, base.scale)


def _beside(params: Any, trained: Any, scale: float) -> Any:
    both = dict(params)
    for name, part in trained.items():
        if isinstance(part, dict):
            both[name] = _beside(params[name], part, scale)
        else:
            both[name] = scale * part if name == A else part
    return both


def without_adapters(params: Any) -> Any:
    """The parameters that `joined` put adapters beside."""
    if not isinstance(params, dict):
        return params
    return {name: without_adapters(part) for name, part in params.items() if name not in (A, B)}


def merged_kernel(projection: Any) -> jax.Array:
    """The kernel [*in, *out] of one `Projection` of one layer, with its adapter in it if any."""
    if A not in projection:
        return projection["kernel"]
    return projection["kernel"] + jnp.tensordot(projection[A], projection[B], 1)
