"""Where a run starts from: its own checkpoint, another run's parameters, or random ones.

state = start(init, tx, sharding, checkpoints, restore_step=None, init_from=None)
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging

from gptjax.training.checkpoints import Checkpoints
from gptjax.training.state import TrainState, create


def start(
    init: Callable[[], Any],
    tx: optax.GradientTransformation,
    sharding: jax.sharding.Sharding,
    checkpoints: Checkpoints,
    *,
    restore_step: int | None,
    init_from: str | None,
) -> TrainState:
    """The state a run goes on from; shapes first, so that nothing is made twice.

    Args:
      init: makes random parameters.
      tx: the optimiser.
      sharding: where the state lives.
      checkpoints: of this run; the newest is resumed where there is one.
      restore_step: the checkpoint to resume instead; later ones are removed.
      init_from: work directory of another run, whose newest parameters a new run starts with.

    Raises:
      ValueError: no such checkpoint, or it is damaged or of another model.
    """

    def place(tree: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
        )

    def fresh() -> TrainState:
        return create(init(), tx)

    if checkpoints.latest_step() is not None:
        target = place(jax.eval_shape(fresh))
        restored = checkpoints.restore(
            restore_step, params=target.params, opt_state=target.opt_state
        )
        if restore_step is not None:
            checkpoints.remove_after(restore_step)
        logging.info("resuming from step %d", restored["step"])
        step = jax.device_put(jnp.int32(restored["step"]), sharding)
        return TrainState(step, restored["params"], restored["opt_state"])
    if restore_step is not None:
        raise ValueError(
            f"--restore_step: got {restore_step}, but {checkpoints.directory} has no checkpoint"
        )
    if init_from is None:
        return jax.jit(fresh, out_shardings=sharding)()
    with Checkpoints(Path(init_from) / "checkpoints") as others:
        params = others.restore_params(None, place(jax.eval_shape(init)))
    return jax.jit(lambda params: create(params, tx), out_shardings=sharding)(params)
