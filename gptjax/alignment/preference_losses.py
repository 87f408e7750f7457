"""Losses of DPO and IPO, and the advantages of GRPO and RLOO.

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

from gptjax.alignment.ranking import pair_weights
from gptjax.models.decoder import Decoder
from gptjax.models.transformer import padding_segments
from gptjax.training.losses import Batch, Loss, out_of_sight_of, token_nats


def dpo_loss(
    log_ratio_margins: jax.Array, beta: float = 0.1, label_smoothing: float = 0.0
) -> jax.Array:
    """-log sigmoid(beta h), of the shape of h = `log_ratio_margins`, in nats.

    Args:
      log_ratio_margins: float32 nats, log(policy / reference) of the chosen answer less that of
        the rejected one, each a sum over the answer's tokens.
      beta: strength of the pull towards the reference.
      label_smoothing: share of preferences taken to be the wrong way round: conservative DPO
        (the same paper's authors, 2023), -(1 - s) log sigmoid(beta h) - s log sigmoid(-beta h).

    Source: arXiv 2305.18290, equation 7.
    """
    logits = beta * log_ratio_margins
    right, wrong = jax.nn.softplus(-logits), jax.nn.softplus(logits)
    return (1.0 - label_smoothing) * right + label_smoothing * wrong


def ipo_loss(log_ratio_margins: jax.Array, tau: float = 0.1) -> jax.Array:
    """(h - 1 / (2 tau))^2, of the shape of h: the margin has a target, and stops growing there.

    Arguments are those of `dpo_loss`; sums over tokens, as the paper has them, not means.

    Source: arXiv 2310.12036, equation 17.
    """
    return jnp.square(log_ratio_margins - 0.5 / tau)


def answer_log_probs(model: Decoder, chunk: int | None = None) -> Callable[[Any, Batch], jax.Array]:
    """Log-probabilities of whole answers, as a function (params, batch) -> [B, K] float32 nats.

    The batch is that of `ranking.ranking` with whole texts: tokens [B, K, T], lengths [B, K] and
    prompt_lengths [B] int32. An answer is what follows the prompt up to the text's length, the end
    of the turn included; a missing one, of length 0, has 0 nats. Dropout is off. Under attention
    that looks ahead, padding is hidden, and tokens that earlier ones may see have 0 nats.

    Args:
      model: the decoder.
      chunk: positions whose logits exist at a time, as in `losses.language_model`; T is padded to a
        multiple of it, which must not exceed a table of learned positions.
    """
    nats_of = token_nats(model, chunk)

    def log_probs(params: Any, batch: Batch) -> jax.Array:
        rows, count, length = batch["tokens"].shape
        room = length + (-length % (chunk or 1))
        tokens = jnp.pad(batch["tokens"], ((0, 0), (0, 0), (0, room - length)))
        inputs = tokens.reshape(rows * count, room)
        targets = jnp.pad(inputs[:, 1:], ((0, 0), (0, 1)))
        at = jnp.arange(1, room + 1)[None, None]  # of the token that each position predicts
        answered = (at >= batch["prompt_lengths"][:, None, None]) & (
            at < batch["lengths"][:, :, None]
        )
        made = {"tokens": inputs, "targets": targets}
        hidden = out_of_sight_of(made, model.config)
        if hidden is not None:
            answered &= hidden[None]
        segments = padding_segments(model.config, batch["lengths"].reshape(rows * count), room)
        if segments is not None:
            made["segment_ids"] = segments
        nats = nats_of(params, made, None)
        return -jnp.sum(jnp.where(answered, nats.reshape(rows, count, room), 0.0), axis=2)

    return log_probs


def dpo(
    model: Decoder, beta: float = 0.1, label_smoothing: float = 0.0, chunk: int | None = None
) -> Loss:
    """Direct preference optimisation as the training loop takes it; see `_preference`.

    `chosen_reward`, `rejected_reward` and `margin` are in nats times beta.
    """
    log_probs = answer_log_probs(model, chunk)
    return _preference(log_probs, lambda margins: dpo_loss(margins, beta, label_smoothing), beta)


def ipo(model: Decoder, tau: float = 0.1, chunk: int | None = None) -> Loss:
    """Identity preference optimisation as the training loop takes it; as `dpo`, with tau."""
    return _preference(answer_log_probs(model, chunk), lambda margins: ipo_loss(margins, tau), tau)


def _preference(
    log_probs: Callable[[Any, Batch], jax.Array],
    of_margins: Callable[[jax.Array], jax.Array],
    scale: float,
) -> Loss:
    """A loss of log-ratio margins, over all pairs of a prompt's answers.

    The batch is that of `answer_log_probs` with reference_log_probs [B, K] float32, what it gives
    with the reference's parameters, and preferred [B, K, K] and num_answers [B], by which pairs
    count as in `ranking.pair_weights`: ties are left out, and all pairs of a prompt make one
    element of the batch. For pairs, K = 2, it is the papers' mean over pairs. Dropout is off, as
    it is in the reference.

    Metrics are over pairs: `accuracy`, the share whose better answer gained more over the
    reference, where an equal gain counts half; `chosen_reward` and `rejected_reward`, log(policy /
    reference) of the better and of the worse answer, and `margin`, their difference, by `scale`.
    """

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        del rng
        weights = pair_weights(batch["preferred"], batch["num_answers"])
        gained = log_probs(params, batch) - batch["reference_log_probs"]
        better, worse = gained[:, :, None], gained[:, None, :]
        margins = jnp.where(weights > 0.0, better - worse, 0.0)
        metric_sums = {
            "accuracy": jnp.sum(weights * 0.5 * (1.0 + jnp.sign(margins))),
            "chosen_reward": scale * jnp.sum(weights * better),
            "rejected_reward": scale * jnp.sum(weights * worse),
            "margin": scale * jnp.sum(weights * margins),
        }
        return jnp.sum(weights * of_margins(margins)), jnp.sum(weights), metric_sums

    return loss


def grpo_advantages(scores: jax.Array, *, scale: bool = True) -> jax.Array:
    """Advantages of answers within their group: (r - mean) / (standard deviation + 1e-6).

    Args:
      scores: [B, G] float32, of G answers to each prompt.
      scale: whether to divide; otherwise prompts count by the spread of their scores (Liu et al.
        2025, arXiv 2503.20783).

    Returns:
      [B, G] float32, for every token of the answer; exactly 0 where all of a group score alike.

    Source: arXiv 2402.03300, section 4.1.2. The deviation is the population's.
    """
    gaps = scores - scores[:, :1]  # whose mean is exactly 0 where all are equal
    centred = gaps - jnp.mean(gaps, axis=1, keepdims=True)
    if not scale:
        return centred
    return centred / (jnp.sqrt(jnp.mean(jnp.square(centred), axis=1, keepdims=True)) + 1e-6)


def rloo_advantages(scores: jax.Array) -> jax.Array:
    """Each score less the mean of the others of its group, [B, G] float32; 0 where all are equal.

    Args:
      scores: [B, G] float32, of G answers to each prompt, two or more.

    Raises:
      ValueError: one answer, which has no others.

    Source: arXiv 2402.14740, after Kool et al. 2019.
    """
    count = scores.shape[1]
    if count < 2:
        raise ValueError(f"rloo_advantages: got {count} answer a prompt, expected at least 2")
    gaps = scores - scores[:, :1]
    others = (jnp.sum(gaps, axis=1, keepdims=True) - gaps) / (count - 1)
    return gaps - others
