"""Optimizers with the papers' schedules.

Adam: arXiv 1412.6980; decoupled weight decay: arXiv 1711.05101; muP's rates: arXiv 2203.03466;
Muon: Jordan et al. 2024, scaled as in arXiv 2502.16982. GPT-1 decays all weights but biases and
gains (section 4.1); GPT-3's schedule is stated in tokens (appendix B).

    tx = make_optimizer(config.optimizer, learning_rate(config.optimizer, batches))
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from optax.contrib import MuonDimensionNumbers, muon

from gptjax.batch_schedule import BatchSchedule
from gptjax.config import OptimizerConfig
from gptjax.training.parameters import path_of, rule_of
from gptjax.training.spikes import Guard

Schedule = Callable[[ArrayLike], jax.Array]
Optimizer = optax.GradientTransformation | Guard


def decay_mask(params: Any) -> Any:
    """Mask of the parameters that decay, as a tree of bools.

    Raises:
      ValueError: naming a parameter that has no row in `parameters.PARAMETERS`.
    """
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: rule_of(path_of(keys), leaf.ndim).decays, params
    )


def _tokens(batches: BatchSchedule, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tokens consumed before `step` and once it is over; float32, exact to one part in 10^7."""
    first = jnp.array([first for first, _ in batches.stages], jnp.float32)
    tokens = jnp.array([batches.tokens(first) for first, _ in batches.stages], jnp.float32)
    sizes = jnp.array([size for _, size in batches.stages], jnp.float32)
    stage = jnp.searchsorted(first, step, side="right") - 1
    taken, size = step - first[stage], sizes[stage] * batches.context_length
    return tokens[stage] + taken * size, tokens[stage] + (taken + 1.0) * size


def learning_rate(config: OptimizerConfig, batches: BatchSchedule) -> Schedule:
    """The learning rate of a step: linear warm-up, then a decay, or none.

    Step n (from 0) is the update n + 1: with `warmup_steps=2000` update 1 has 1/2000 of the peak,
    and update 2000 the whole peak. Decay starts after that update. It has reached `final_fraction`
    of the peak after the last update of its length, and the rate stays there, so that every update
    of a run trains. Under "wsd" (warm-up, stable, decay; arXiv 2404.06395, section 4) the decay
    takes the last `decay_fraction` of the steps or tokens until its end, and the rate is at its
    peak until then. Under "rsqrt" (arXiv 1706.03762, equation 3) the rate falls with the inverse
    square root of the updates, or of the tokens, and never ends; the paper's peak is
    (E x warm-up)^-0.5.

    Args:
      config: a resolved `OptimizerConfig`; warm-up and decay each in steps or in tokens.
      batches: what turns steps into tokens.

    Returns:
      A function from the step (int32 scalar) to the rate (float32 scalar).
    """
    in_tokens = config.warmup_tokens is not None or config.decay_tokens is not None

    def unit(steps: int | None, tokens: int | None) -> float:
        if not in_tokens:
            return float(steps or 0)
        return float(tokens if tokens is not None else batches.tokens(steps or 0))

    warmup = unit(config.warmup_steps, config.warmup_tokens)
    end = unit(config.decay_steps, config.decay_tokens)
    stable = end * (1.0 - config.decay_fraction) if config.schedule == "wsd" else 0.0
    start, peak = max(warmup, stable), warmup or unit(1, None)

    def schedule(step: ArrayLike) -> jax.Array:
        step = jnp.asarray(step).astype(jnp.float32)
        before, done = _tokens(batches, step) if in_tokens else (step, step + 1.0)
        warm = jnp.minimum(1.0, done / warmup) if warmup else jnp.float32(1.0)
        decayed = done if batches.revision < 2 else before
        progress = jnp.clip((decayed - start) / max(end - start, 1.0), 0.0, 1.0)
        left = {
            "cosine": 0.5 * (1.0 + jnp.cos(jnp.pi * progress)),
            "linear": 1.0 - progress,
            "wsd": 1.0 - progress,
            "rsqrt": jnp.sqrt(peak / jnp.maximum(done, peak)),
            "constant": jnp.ones_like(progress),
        }[config.schedule]
        fraction = config.final_fraction + (1.0 - config.final_fraction) * left
        return config.learning_rate * warm * fraction

    return schedule


def make_optimizer(
    config: OptimizerConfig, schedule: Schedule, width_multiplier: float = 1.0
) -> optax.GradientTransformation:
    """The optimizer `config.name`, after clipping by the global norm; apply it with `update`.

    Args:
      config: resolved.
      schedule: of the learning rate.
      width_multiplier: of the model, by which muP divides the rates of AdamW for the parameters
        that read its width; 1: all have the same.
    """
    if width_multiplier == 1.0:
        optimizer = OPTIMIZERS[config.name](config, schedule)
    else:
        assert config.name == "adamw", "`resolve` refuses others"
        optimizer = _adamw_by_width(config, schedule, width_multiplier)
    if config.clip_norm is None:
        return optimizer
    return optax.chain(_clipped(config.clip_norm), optimizer)


def _clipped(most: float) -> optax.GradientTransformation:
    """Scales gradients down to a global norm of `most`.

    One factor for all, which XLA computes into the update. optax divides each number by the norm,
    and a CPU then writes and reads all gradients once more.
    """

    def scaled(grads: Any, params: Any = None) -> Any:
        del params
        factor = jnp.minimum(1.0, most / optax.tree.norm(grads))
        return jax.tree.map(lambda grad: grad * factor, grads)

    return optax.stateless(scaled)


def _adamw(config: OptimizerConfig, schedule: Schedule) -> optax.GradientTransformation:
    return optax.adamw(
        schedule,
        config.beta1,
        config.beta2,
        config.epsilon,
        weight_decay=config.weight_decay,
        mask=decay_mask,
    )


def _adamw_by_width(
    config: OptimizerConfig, schedule: Schedule, width_multiplier: float
) -> optax.GradientTransformation:
    """AdamW under muP: Adam's update of what reads the width is divided by it (table 8).

    The decay is decoupled from that, too: all parameters decay by rate x decay, at every width.
    """

    def divided(updates: Any, params: Any = None) -> Any:
        del params
        return jax.tree_util.tree_map_with_path(
            lambda keys, leaf: (
                leaf / width_multiplier if rule_of(path_of(keys), leaf.ndim).reads_width else leaf
            ),
            updates,
        )

    return optax.chain(
        optax.scale_by_adam(config.beta1, config.beta2, config.epsilon),
        optax.stateless(divided),
        optax.add_decayed_weights(config.weight_decay, decay_mask),
        optax.scale_by_learning_rate(schedule),
    )


def _muon(config: OptimizerConfig, schedule: Schedule) -> optax.GradientTransformation:
    """Momentum made orthogonal for the layers' matrices, AdamW for all else, at one rate.

    The factor 0.2 sqrt(max(fan in, fan out)) gives both updates the same size (arXiv 2502.16982,
    section 2.2), so that learning rates and decays carry over from AdamW.
    """

    def axes(keys: Any, leaf: Any) -> MuonDimensionNumbers | None:
        return rule_of(path_of(keys), leaf.ndim).matrix

    orthogonal = muon(
        schedule,
        weight_decay=config.weight_decay,
        muon_weight_dimension_numbers=lambda matrices: jax.tree_util.tree_map_with_path(
            axes, matrices
        ),
        consistent_rms=0.2,
    )

    def names(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: "adamw" if axes(path, leaf) is None else "muon", params
        )

    return optax.partition({"muon": orthogonal, "adamw": _adamw(config, schedule)}, names)


# The names are those that `OptimizerConfig.name` may have.
OPTIMIZERS: dict[str, Callable[[OptimizerConfig, Schedule], optax.GradientTransformation]] = {
    "adamw": _adamw,
    "muon": _muon,
}


def update(
    tx: Optimizer, grads: Any, opt_state: Any, params: Any, loss: jax.Array
) -> tuple[Any, Any]:
    """One update: the new parameters and optimiser state; a guard looks at the loss."""
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes on purpose
        if isinstance(tx, Guard):
            return tx.step(grads, opt_state, params, loss)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state
