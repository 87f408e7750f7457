"""Learning from preferences without a reward model, or from rewards without a value network.

DPO (Rafailov et al. 2023, arXiv 2305.18290), IPO (Azar et al. 2023, arXiv 2310.12036); the
advantages of GRPO (Shao et al. 2024, arXiv 2402.03300) and RLOO (Ahmadian et al. 2024, arXiv
2402.14740), which take the place of `advantages.estimate`.

    loss_sum, weight, metric_sums = dpo(GPT(config), beta=0.1)(params, batch, rng)
    advantages = grpo_advantages(scores)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.models.gpt import GPT
from gptjax.training.losses import Batch, Loss, cross_entropy


def dpo_loss(
    log_ratio_margins: jax.Array, beta: float = 0.1, label_smoothing: float = 0.0
) -> jax.Array:
    """-log sigmoid(beta h), of the shape of h = `log_ratio_margins`, in nats.

    Args:
      log_ratio_margins: float32 nats, log(policy / reference) of the chosen answer less that of
        the rejected one, each a sum over the answer's tokens.
      beta: how dear it is to leave the reference.
      label_smoothing: share of preferences taken to be the wrong way round: conservative DPO
        (the same paper's authors, 2023), -(1 - s) log sigmoid(beta h) - s log sigmoid(-beta h).

    Source: arXiv 2305.18290, equation 7.
    """
    logits = beta * log_ratio_margins
    right, wrong = jax.nn.softplus(-logits), jax.nn.softplus(logits)
    return (1.0 - label_smoothing) * right + label_smoothing * wrong


def ipo_loss(log_ratio_margins: jax.Array, tau: float = 0.1) -> jax.Array:
    """(h - 1 / (2 tau))^2, of the shape of h: a margin to reach, not one to grow without end.

    Arguments are those of `dpo_loss`; sums over tokens, as the paper has them, not means.

    Source: arXiv 2310.12036, equation 17.
    """
    return jnp.square(log_ratio_margins - 0.5 / tau)


def answer_log_probs(
    model: GPT,
    params: Any,
    tokens: jax.Array,
    targets: jax.Array,
    loss_weights: jax.Array,
    rng: jax.Array | None = None,
) -> jax.Array:
    """Log-probabilities of whole answers, [N] float32 nats.

    Args:
      model: the decoder.
      params: its parameters.
      tokens: [N, T] int32, prompts and answers.
      targets: [N, T] int32, the token after each.
      loss_weights: [N, T] float32, 1 where the target is one of the answer's tokens, 0 elsewhere.
      rng: of dropout; None: off.
    """
    logits: Any = model.apply(
        {"params": params},
        tokens,
        deterministic=rng is None,
        rngs=None if rng is None else {"dropout": rng},
    )
    return -jnp.sum(cross_entropy(logits, targets) * loss_weights, axis=1)


def dpo(model: GPT, beta: float = 0.1, label_smoothing: float = 0.0) -> Loss:
    """Direct preference optimisation as the training loop takes it; see `_preference`.

    Metrics `chosen_reward`, `rejected_reward` and `margin` are in nats times beta.
    """
    return _preference(model, lambda margins: dpo_loss(margins, beta, label_smoothing), beta)


def ipo(model: GPT, tau: float = 0.1) -> Loss:
    """Identity preference optimisation as the training loop takes it; as `dpo`, with tau."""
    return _preference(model, lambda margins: ipo_loss(margins, tau), tau)


def _preference(model: GPT, of_margins: Callable[[jax.Array], jax.Array], scale: float) -> Loss:
    """A loss of log-ratio margins.

    The batch holds pairs, chosen first: tokens, targets [B, 2, T] int32 and loss_weights [B, 2, T]
    float32 as `answer_log_probs` takes them, and reference_log_probs [B, 2] float32, what it gives
    with the reference's parameters. The weight is B. `accuracy` is the share of pairs whose chosen
    answer gained more over the reference, an equal gain being half right.
    """

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        rows, length = batch["tokens"].shape[0], batch["tokens"].shape[-1]
        tokens, targets, loss_weights = (
            batch[name].reshape(2 * rows, length) for name in ("tokens", "targets", "loss_weights")
        )
        log_probs = answer_log_probs(model, params, tokens, targets, loss_weights, rng)
        log_probs = log_probs.reshape(rows, 2)
        gained = log_probs - batch["reference_log_probs"]
        margins = gained[:, 0] - gained[:, 1]
        metric_sums = {
            "accuracy": jnp.sum(0.5 * (1.0 + jnp.sign(margins))),
            "chosen_reward": scale * jnp.sum(gained[:, 0]),
            "rejected_reward": scale * jnp.sum(gained[:, 1]),
            "margin": scale * jnp.sum(margins),
        }
        return jnp.sum(of_margins(margins)), jnp.float32(rows), metric_sums

    return loss


def grpo_advantages(scores: jax.Array, *, scale: bool = True) -> jax.Array:
    """Advantages of answers within their group: (r - mean) / (standard deviation + 1e-6).

    Args:
      scores: [B, G] float32, of G answers to each prompt.
      scale: whether to divide; without, easy and hard prompts count by their spread (Liu et al.
        2025, arXiv 2503.20783).

    Returns:
      [B, G] float32, for every token of the answer; 0 where all of a group score alike.

    Source: arXiv 2402.03300, section 4.1.2. The deviation is the population's.
    """
    centred = scores - jnp.mean(scores, axis=1, keepdims=True)
    if not scale:
        return centred
    return centred / (jnp.sqrt(jnp.mean(jnp.square(centred), axis=1, keepdims=True)) + 1e-6)


def rloo_advantages(scores: jax.Array) -> jax.Array:
    """Each score less the mean of the others of its group, [B, G] float32.

    Args:
      scores: [B, G] float32, of G answers to each prompt, two or more.

    Raises:
      ValueError: one answer, which has no others.

    Source: arXiv 2402.14740, after Kool et al. 2019.
    """
    count = scores.shape[1]
    if count < 2:
        raise ValueError(f"rloo_advantages: got {count} answer a prompt, expected at least 2")
    others = (jnp.sum(scores, axis=1, keepdims=True) - scores) / (count - 1)
    return scores - others
