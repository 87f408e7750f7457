"""Where a run starts from: its own checkpoint, another run's parameters, or random ones.

target = placed(jax.eval_shape(fresh), mesh)
state = start(fresh, target, checkpoints, restore_step=None, init_from=None)
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import logging

from gptjax.training.checkpoints import Checkpoints
from gptjax.training.state import TrainState


def start(
    fresh: Callable[..., TrainState],
    target: TrainState,
    checkpoints: Checkpoints,
    *,
    restore_step: int | None,
    init_from: str | None,
) -> TrainState:
    """The state a run goes on from; shapes first, so that nothing is made twice.

    Args:
      fresh: makes the state before the first step, of given parameters or else of random ones.
      target: of what shape that state is and where each leaf is to live.
      checkpoints: of this run; the newest is resumed where there is one.
      restore_step: the checkpoint to resume instead; later ones are removed.
      init_from: work directory of another run, whose newest parameters a new run starts with.

    Raises:
      ValueError: no such checkpoint, or it is damaged or of another model.
    """
    sharding = jax.tree.map(lambda leaf: leaf.sharding, target)
    if checkpoints.latest_step() is not None:
        restored = checkpoints.restore(
            restore_step, params=target.params, opt_state=target.opt_state, ema=target.ema
        )
        if restore_step is not None:
            checkpoints.remove_after(restore_step)
        logging.info("resuming from step %d", restored["step"])
        step = jax.device_put(jnp.int32(restored["step"]), sharding.step)
        return TrainState(step, restored["params"], restored["opt_state"], restored["ema"])
    if restore_step is not None:
        raise ValueError(
            f"--restore_step: got {restore_step}, but {checkpoints.directory} has no checkpoint"
        )
    if init_from is None:
        return jax.jit(fresh, out_shardings=sharding)()
    with Checkpoints(Path(init_from) / "checkpoints") as others:
        params = others.restore_params(None, target.params)
    return jax.jit(fresh, out_shardings=sharding)(params)
