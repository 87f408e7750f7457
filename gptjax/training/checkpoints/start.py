"""Start of a run: from its own checkpoint, another run's parameters, or random ones.

target = placed(jax.eval_shape(fresh, seed), mesh)
new = functools.partial(initial_state, fresh, target, seed)
state, data = start(new, target, checkpoints, restore_step=None)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging

from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.processes import on_first
from gptjax.training.state import TrainState


def start(
    new: Callable[[], TrainState],
    target: TrainState,
    checkpoints: Checkpoints,
    *,
    restore_step: int | None,
) -> tuple[TrainState, dict[str, Any]]:
    """The state that a run starts or resumes from, and its data record: empty for a new run.

    Args:
      new: makes the state before the first step, see `initial_state`.
      target: shapes and places of that state.
      checkpoints: of this run; the newest is resumed where there is one.
      restore_step: the checkpoint to resume instead; later ones are removed.

    Raises:
      ValueError: no such checkpoint, or it is damaged or of another model.
    """
    if on_first(checkpoints.latest_step) is None:
        if restore_step is not None:
            raise ValueError(
                f"--restore_step: got {restore_step}, but {checkpoints.directory} has no checkpoint"
            )
        return new(), {}
    state, data = resume(target, checkpoints, restore_step)
    if restore_step is not None:
        checkpoints.remove_after(restore_step)
    logging.info("resuming from step %d", int(state.step))
    return state, data


def initial_state(
    fresh: Callable[..., TrainState], target: TrainState, *arguments: Any
) -> TrainState:
    """The state before the first step; shapes first, so that nothing is made twice.

    Args:
      fresh: makes it, from `arguments`.
      target: its shapes and places.
      arguments: its seed and parameters, say; what is not here is of the program.
    """
    sharding = jax.tree.map(lambda leaf: leaf.sharding, target)
    return jax.jit(fresh, out_shardings=sharding)(*arguments)


def resume(
    target: TrainState, checkpoints: Checkpoints, step: int | None
) -> tuple[TrainState, dict[str, Any]]:
    """The state after `step`, the newest of `checkpoints` by default, and its data record."""
    restored = checkpoints.restore(
        step, params=target.params, opt_state=target.opt_state, ema=target.ema
    )
    done = jax.device_put(jnp.int32(restored["step"]), target.step.sharding)
    state = TrainState(done, restored["params"], restored["opt_state"], restored["ema"])
    return state, restored["data"]
