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
    """Steps taken (int32 scalar), float32 parameters, and the optimiser's state.

    Attributes:
      ema: exponential moving average of the parameters, or None where none is kept.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any = None

    @property
    def judged(self) -> Any:
        """The parameters that are evaluated: the average where one is kept."""
        return self.params if self.ema is None else self.ema


def create(params: Any, tx: optax.GradientTransformation, averaged: bool = False) -> TrainState:
    """The state before the first step; where it is `averaged`, the average starts there."""
    ema = jax.tree.map(jnp.copy, params) if averaged else None
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), ema)


def rng(seed: int, name: str) -> jax.Array:
    """The random key of one use ("params", "dropout") of a run's seed; uses never share bits."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
