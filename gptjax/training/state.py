"""What a training step changes.

state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=tx.init(params))
"""

import zlib
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """Steps taken (int32 scalar), float32 parameters, and the optimiser's state."""

    step: jax.Array
    params: Any
    opt_state: Any


def create(params: Any, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=tx.init(params))


def rng(seed: int, name: str) -> jax.Array:
    """The random key of one use ("params", "dropout") of a run's seed; uses never share bits."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
