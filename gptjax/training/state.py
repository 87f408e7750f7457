"""Training state: all that a training step changes.

state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=tx.init(params))
"""

import dataclasses
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gptjax.pytrees import pytree
from gptjax.training.spikes import Guard


@pytree
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Steps taken (int32 scalar), float32 parameters, and the optimiser's state.

    Attributes:
      params: those that are trained: all of the model, or adapters (`training.lora`).
      ema: exponential moving average of the parameters, or None where none is kept.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any = None

    @property
    def eval_params(self) -> Any:
        """Parameters that the run is evaluated by: the average where one is kept.

        They are what evaluations see, what `evaluate`, `sample` and `convert` read of a checkpoint,
        and what a later run starts from, such as fine-tuning, a reward model or PPO. `params` are
        for the run itself, which goes on from them.
        """
        return self.params if self.ema is None else self.ema


def create(
    params: Any, tx: optax.GradientTransformation | Guard, with_ema: bool = False
) -> TrainState:
    """The state before the first step; an average starts at the same parameters."""
    ema = jax.tree.map(jnp.copy, params) if with_ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), ema)


def averaged(ema: Any, params: Any, decay: float | None) -> Any:
    """The average after one more step, decay ema + (1 - decay) params; None without a decay."""
    return None if decay is None else optax.incremental_update(params, ema, 1 - decay)


def rng(seed: int | jax.Array, name: str) -> jax.Array:
    """The random key of one use ("params", "dropout") of a run's seed; uses never share bits."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
