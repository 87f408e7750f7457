"""Steps that change nothing: those that are not finite, and those whose gradient is an outlier.

PaLM (arXiv 2204.02311, section 5.1) met its loss spikes by going back some hundred steps and
leaving out the data that came there. Here the median of the last gradient norms decides what an
outlier is. Outliers count in the median: if gradients grow for good, it follows them within half
the window.

    tx = skipping_outliers(make_optimizer(config.optimizer, schedule), skip_grad_norm=10.0)
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

WINDOW = 101  # norms; odd, so that the median is one of them


@dataclasses.dataclass(frozen=True)
class Guard:
    """An optimizer that may leave out a step; `optimizers.update` applies it.

    Attributes:
      init: makes its state, a `GuardState`, of parameters.
      step: (grads, state, params, loss) -> the new parameters and state.
    """

    init: Callable[[Any], Any]
    step: Callable[[Any, Any, Any, jax.Array], tuple[Any, Any]]


class GuardState(NamedTuple):
    """State of the guard: what it knows of earlier steps.

    Attributes:
      inner: state of the optimizer.
      norms: the last finite gradient norms, newest last, [WINDOW] float32; infinite before the
        first, so that nothing is an outlier until half of them are known.
      skipped_steps: steps that changed nothing, int32 scalar.
      nonfinite_steps: number of the latest steps in a row that were not finite; int32 scalar.
    """

    inner: Any
    norms: jax.Array
    skipped_steps: jax.Array
    nonfinite_steps: jax.Array


class NotFiniteError(ValueError):
    """A loss or a gradient norm that is not finite ended a run.

    Attributes:
      first_step: the first of the steps in a row that were not finite.
      last_step: the last of them.
    """

    def __init__(self, message: str, first_step: int, last_step: int):
        super().__init__(message)
        self.first_step, self.last_step = first_step, last_step


def skipping_outliers(tx: optax.GradientTransformation, skip_grad_norm: float | None) -> Guard:
    """Wraps `tx` so that a step which is not finite, or is an outlier, changes nothing.

    Args:
      tx: the optimizer.
      skip_grad_norm: a step is an outlier if its gradient norm is above this many times the median
        of the last norms; None: no step is an outlier.

    """

    def init(params: Any) -> GuardState:
        count = jnp.zeros((), jnp.int32)
        return GuardState(tx.init(params), jnp.full(WINDOW, jnp.inf, jnp.float32), count, count)

    def step(grads: Any, state: Any, params: Any, loss: jax.Array) -> tuple[Any, GuardState]:
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        applied = finite
        if skip_grad_norm is not None:
            applied &= norm <= skip_grad_norm * jnp.sort(state.norms)[WINDOW // 2]

        def updated(params: Any, inner: Any) -> tuple[Any, Any]:
            updates, inner = tx.update(grads, inner, params)
            return optax.apply_updates(params, updates), inner

        # A branch and no selection: of that XLA computed parameters from the state before it, so
        # that it had to copy moments instead of writing over them (figures in `docs/log.md`).
        params, inner = jax.lax.cond(
            applied, updated, lambda *unchanged: unchanged, params, state.inner
        )
        return params, GuardState(
            inner,
            jnp.where(finite, jnp.append(state.norms[1:], norm), state.norms),
            state.skipped_steps + (~applied).astype(jnp.int32),
            jnp.where(finite, 0, state.nonfinite_steps + 1),
        )

    return Guard(init, step)


def counts(opt_state: Any) -> dict[str, jax.Array]:
    """`skipped_steps` and `nonfinite_steps` of a guarded optimizer; nothing of another."""
    if not isinstance(opt_state, GuardState):
        return {}
    return {name: getattr(opt_state, name) for name in ("skipped_steps", "nonfinite_steps")}
