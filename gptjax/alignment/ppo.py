"""Proximal policy optimisation on rollouts: log-probabilities, advantages, the update.

InstructGPT (arXiv 2203.02155, section 3.5): policy, frozen reference, reward, and a value network
that starts from the reward model. One iteration, of a batch of answers:

    # of each minibatch
    measured = programs.measure(params, reference, critic_params, batch)
    # of the whole batch
    targets, figures, ... = programs.learning_targets(measured, mask, scores, ...)
    # of each minibatch
    state, figures = programs.update(state, {**batch, **targets}, text)

The log-probabilities before the update come from the update's own forward pass, minibatch by
minibatch, so that the first ratios are 1 up to rounding. All arrays [b, A] are of drawn tokens, as
`token_rewards` has them. Dropout is off throughout.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gptjax.alignment import advantages, policy_gradient
from gptjax.alignment.ppo_settings import PPOSettings
from gptjax.alignment.preference_losses import grpo_advantages, rloo_advantages
from gptjax.alignment.reward_model import RewardModel
from gptjax.alignment.token_rewards import (
    ScoreMoments,
    answer_kl,
    next_coefficient,
    scaled_scores,
    token_rewards,
)
from gptjax.models.adapters import Base, joined
from gptjax.models.decoder import Decoder
from gptjax.models.transformer import padding_segments
from gptjax.pytrees import pytree
from gptjax.training.gradients import GradientSums
from gptjax.training.optimizers import update as updated
from gptjax.training.state import TrainState, averaged

Arrays = Mapping[str, jax.Array]


@pytree
@dataclasses.dataclass(frozen=True)
class Bases:
    """Frozen parameters that adapters stand beside; None where all of a network is trained.

    Attributes:
      policy: of the policy; its parameters are the reference's, too.
      critic: of the value network.
    """

    policy: Base | None = None
    critic: Base | None = None


WITHOUT_LORA = Bases()


@pytree
@dataclasses.dataclass(frozen=True)
class PPOState:
    """Training state besides the policy's parameters: the `opt_state` of its `TrainState`.

    Attributes:
      optimizer: of the policy.
      critic: trained parameters of the value network; empty without one.
      critic_optimizer: of the value network.
      kl_coefficient: float32 scalar, beta of the next iteration.
      moments: of all scores so far.
    """

    optimizer: Any
    critic: Any
    critic_optimizer: Any
    kl_coefficient: jax.Array
    moments: ScoreMoments


def initial_state(
    params: Any,
    critic: Any,
    tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
    *,
    kl_coefficient: float,
    with_ema: bool,
) -> TrainState:
    """The state before the first iteration; its `step` counts iterations.

    Its arrays are copies, because the update donates them, and `params` stays the reference.

    Args:
      params: the trained parameters of the policy.
      critic: the trained parameters of the value network; {} for none.
      tx: optimizer of the policy.
      critic_tx: of the value network.
      kl_coefficient: beta.
      with_ema: whether an average of the policy is kept.
    """
    ppo_state = PPOState(
        tx.init(params),
        jax.tree.map(jnp.copy, critic),
        critic_tx.init(critic) if critic else {},
        jnp.float32(kl_coefficient),
        ScoreMoments.none(),
    )
    policy = jax.tree.map(jnp.copy, params)
    ema = jax.tree.map(jnp.copy, params) if with_ema else None
    return TrainState(jnp.zeros((), jnp.int32), policy, ppo_state, ema)


def answer_logits(policy: Decoder, params: Any, batch: Arrays) -> jax.Array:
    """Logits [b, A, V] float32 before each drawn token, of `Rollouts.arrays`.

    Neither padding nor other rows change them.
    """
    made: Any = policy.apply(
        {"params": params},
        batch["tokens"],
        segment_ids=_segments(policy, batch),
        method="hidden",
    )
    logits: Any = policy.apply({"params": params}, _before(made[0], batch), method="logits")
    return logits


def answer_values(critic: RewardModel, params: Any, batch: Arrays) -> jax.Array:
    """Values that the value network predicts before each drawn token, [b, A] float32."""
    values: Any = critic.apply(
        {"params": params},
        batch["tokens"],
        segment_ids=_segments(critic, batch),
        method=RewardModel.values,
    )
    return _before(values[..., None], batch)[..., 0]


def _segments(model: Any, batch: Arrays) -> jax.Array | None:
    lengths = batch["prompt_lengths"] + batch["answer_lengths"]
    return padding_segments(model.config, lengths, batch["tokens"].shape[1])


def _before(x: jax.Array, batch: Arrays) -> jax.Array:
    """Entries of x [b, T, ...] that stand before each drawn token, [b, A, ...]."""
    drawn = jnp.arange(batch["answers"].shape[1])[None]
    at = batch["prompt_lengths"][:, None] - 1 + drawn
    return jnp.take_along_axis(x, at[:, :, None], axis=1)


def make_measure(
    policy: Decoder, critic: RewardModel | None, temperature: float
) -> Callable[[Any, Any, Any, Arrays], dict[str, jax.Array]]:
    """Makes the measurement of a minibatch, `(params, reference, critic, batch) -> arrays`.

    Those are `log_probs` and `entropy` by the policy and `reference_log_probs`, in nats, and
    `values` where there is a value network; each [b, A] float32.
    """

    def measure(params: Any, reference: Any, critic_params: Any, batch: Arrays):
        logits = answer_logits(policy, params, batch)
        of_reference = answer_logits(policy, reference, batch)
        measured = {
            "log_probs": policy_gradient.token_log_probs(logits, batch["answers"], temperature),
            "entropy": policy_gradient.entropy(logits, temperature),
            "reference_log_probs": policy_gradient.token_log_probs(
                of_reference, batch["answers"], temperature
            ),
        }
        if critic is not None:
            measured["values"] = answer_values(critic, critic_params, batch)
        return measured

    return measure


def learning_targets(
    settings: PPOSettings,
    measured: Arrays,
    mask: jax.Array,
    scores: jax.Array,
    finished: jax.Array,
    kl_coefficient: jax.Array,
    moments: ScoreMoments,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], jax.Array, ScoreMoments]:
    """Computes advantages and returns of a batch of answers, and the next KL coefficient.

    Args:
      settings: of the algorithm; static.
      measured: of the whole batch, each [B, A].
      mask: bool [B, A], the drawn tokens.
      scores: float32 [B], of whole answers; the answers to a prompt follow each other.
      finished: bool [B].
      kl_coefficient: beta of this iteration.
      moments: of the scores before.

    Returns:
      What the update reads besides the rollouts, each [B, A]; the iteration's figures; the next
      beta; and the moments with these scores in them.
    """
    log_probs, reference = measured["log_probs"], measured["reference_log_probs"]
    kl = answer_kl(log_probs, reference, mask)
    if settings.scale_scores:
        moments = moments.with_scores(scores)
        scores = scaled_scores(scores, moments)
    rewards = token_rewards(
        log_probs,
        reference,
        mask,
        scores,
        finished,
        # GRPO's penalty is a term of its loss (arXiv 2402.03300, equation 3).
        kl_coefficient=0.0 if settings.advantages == "grpo" else kl_coefficient,
        unfinished_score=settings.unfinished_score,
    )
    figures = {
        "kl": jnp.mean(kl),
        "kl_coefficient": kl_coefficient,
        "entropy": advantages.masked_mean(measured["entropy"], mask),
        "return": jnp.mean(jnp.sum(rewards, axis=1)),
    }
    weights = mask.astype(jnp.float32)
    targets = {"log_probs": log_probs}
    if settings.advantages == "gae":
        values = measured["values"]
        gained, returns = advantages.estimate(
            rewards, values, mask, discount=settings.discount, decay=settings.gae_decay
        )
        figures["explained_variance"] = advantages.explained_variance(values, returns, mask)
        if settings.whiten:
            gained = advantages.whitened(gained, mask)
        targets |= {"values": values, "returns": returns}
    else:
        groups = jnp.sum(rewards, axis=1).reshape(-1, settings.answers_per_prompt)
        if settings.advantages == "grpo":
            of_answers = grpo_advantages(groups)
            targets["reference_log_probs"] = reference
            weights /= jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1.0)
        else:
            of_answers = rloo_advantages(groups)
        gained = jnp.where(mask, of_answers.reshape(-1, 1), 0.0)
    targets |= {"advantages": gained, "weights": weights}
    following = next_coefficient(kl_coefficient, figures["kl"], settings.kl_target)
    return targets, figures, jnp.asarray(following, jnp.float32), moments


def make_update(
    settings: PPOSettings,
    policy: Decoder,
    critic: RewardModel | None,
    tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
    pretraining: GradientSums | None,
    ema_decay: float | None,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the pure update of a minibatch, `(state, batch, text, bases) -> (state, figures)`.

    Args:
      settings: of the algorithm.
      policy: the model.
      critic: the value network; None without one.
      tx: optimizer of the policy.
      critic_tx: of the value network.
      pretraining: of the pretraining loss, whose gradient PPO-ptx adds; None: PPO. Its batches are
        the update's `text`.
      ema_decay: of the average of the policy, an update; None where none is kept.
    """

    def policy_objective(params: Any, base: Any, batch: Arrays, kl_coefficient: jax.Array):
        logits = answer_logits(policy, joined(params, base), batch)
        log_probs = policy_gradient.token_log_probs(logits, batch["answers"], settings.temperature)
        old, weights = batch["log_probs"], batch["weights"]
        total, weight, sums = policy_gradient.policy_loss(
            log_probs, old, batch["advantages"], weights, clip=settings.clip
        )
        if settings.advantages == "grpo":
            reference = jnp.where(weights > 0.0, batch["reference_log_probs"], log_probs)
            _, k3 = policy_gradient.approximate_kl(log_probs, reference)
            total += kl_coefficient * jnp.sum(weights * k3)
        least, greatest = policy_gradient.ratio_extremes(log_probs, old, weights)
        figures = {name: x / weight for name, x in sums.items()}
        return total / weight, figures | {"ratio_min": least, "ratio_max": greatest}

    def value_objective(params: Any, base: Any, batch: Arrays):
        assert critic is not None
        total, weight, sums = policy_gradient.value_loss(
            answer_values(critic, joined(params, base), batch),
            batch["values"],
            batch["returns"],
            batch["weights"],
            clip=settings.value_clip,
        )
        return total / weight, {name: x / weight for name, x in sums.items()}

    def update(state: TrainState, batch: Arrays, text: Arrays | None, bases: Bases = WITHOUT_LORA):
        ppo_state = state.opt_state
        (loss, figures), grads = jax.value_and_grad(policy_objective, has_aux=True)(
            state.params, bases.policy, batch, ppo_state.kl_coefficient
        )
        figures |= {"policy_loss": loss, "grad_norm": optax.tree.norm(grads)}
        if pretraining is not None:
            assert text is not None
            (nats, weight, _), of_text = pretraining(
                state.params, text, jax.random.key(0), bases.policy
            )
            figures["pretraining_loss"] = nats / weight
            grads = policy_gradient.with_pretraining(
                grads,
                jax.tree.map(lambda x: x / weight, of_text),
                settings.pretraining_coefficient,
            )
        params, optimizer = updated(tx, grads, ppo_state.optimizer, state.params, loss)
        ppo_state = dataclasses.replace(ppo_state, optimizer=optimizer)
        if critic is not None:
            (loss, of_critic), grads = jax.value_and_grad(value_objective, has_aux=True)(
                ppo_state.critic, bases.critic, batch
            )
            figures |= of_critic
            figures |= {"value_loss": loss, "value_grad_norm": optax.tree.norm(grads)}
            learned, optimizer = updated(
                critic_tx, grads, ppo_state.critic_optimizer, ppo_state.critic, loss
            )
            ppo_state = dataclasses.replace(ppo_state, critic=learned, critic_optimizer=optimizer)
        ema = averaged(state.ema, params, ema_decay)
        return TrainState(state.step, params, ppo_state, ema), figures

    return update
