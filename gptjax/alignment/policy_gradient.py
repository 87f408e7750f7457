"""Proximal policy optimisation, its terms as pure functions, and PPO-ptx.

Schulman et al. 2017 (arXiv 1707.06347); InstructGPT (arXiv 2203.02155, section 3.5, equation 2).
Arrays [B, T] are those of `token_rewards`. Losses are sums with their weight, as in
`training.losses`: the caller divides once. `weights` [B, T] float32 is 0 off the answers; values
there change nothing. Elsewhere it is the weight of a token: 1 for the mean over tokens, 1 over the
answer's length for the mean over answers.

    log_probs = token_log_probs(logits, tokens, temperature)
    loss_sum, weight, metric_sums = policy_loss(log_probs, old, advantages, weights, clip=0.2)
"""

from typing import Any

import jax
import jax.numpy as jnp

from gptjax.training.losses import cross_entropy

Sums = tuple[jax.Array, jax.Array, dict[str, jax.Array]]


def _heated(logits: jax.Array, temperature: float | jax.Array) -> jax.Array:
    if isinstance(temperature, float | int) and not temperature > 0:
        raise ValueError(f"temperature: got {temperature}, expected more than 0")
    return logits / temperature


def token_log_probs(
    logits: jax.Array, tokens: jax.Array, temperature: float | jax.Array = 1.0
) -> jax.Array:
    """Log-probabilities of given tokens under softmax(logits / temperature).

    Policy and reference both take the temperature that the tokens were drawn with: otherwise the
    ratio compares distributions that nobody drew from. Filters such as top-k have no place here.

    Args:
      logits: [B, T, V] float32; entry t predicts token t. Those of a padded vocabulary are -inf.
      tokens: [B, T] int32.
      temperature: of the sampler, above 0.

    Returns:
      [B, T] float32 nats.

    Raises:
      ValueError: a temperature of 0 or less, at which there are no probabilities.
    """
    return -cross_entropy(_heated(logits, temperature), tokens)


def entropy(logits: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    """Entropy of softmax(logits / temperature), [B, T] float32 nats, of logits [B, T, V] float32.

    Logits of -inf take no probability and add nothing.
    """
    log_probs = jax.nn.log_softmax(_heated(logits, temperature), axis=-1)
    finite = jnp.where(jnp.isfinite(log_probs), log_probs, 0.0)
    return -jnp.sum(jnp.exp(log_probs) * finite, axis=-1)


def approximate_kl(log_probs: jax.Array, others: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Estimates k1 and k3 of KL(P || Q) from tokens drawn from P, of their shape, in nats.

    With r = Q / P: k1 = -log r is unbiased and may be negative; k3 = r - 1 - log r is unbiased,
    never negative and varies less. k3 is GRPO's penalty (arXiv 2402.03300, equation 4).

    Args:
      log_probs: float32 nats by P, which drew the tokens.
      others: of the same shape, by Q.

    Source: Schulman 2020, "Approximating KL divergence".
    """
    log_ratios = others - log_probs
    return -log_ratios, jnp.expm1(log_ratios) - log_ratios


def policy_loss(
    log_probs: jax.Array,
    old_log_probs: jax.Array,
    advantages: jax.Array,
    weights: jax.Array,
    *,
    clip: float = 0.2,
) -> Sums:
    """The clipped surrogate, to be minimised: max(-A r, -A clip(r, 1 - clip, 1 + clip)).

    Args:
      log_probs: [B, T] float32 nats, by the policy that learns.
      old_log_probs: [B, T] float32 nats, by the policy before the update, from the same forward
        pass; the sampler's own log-probabilities differ by rounding.
      advantages: [B, T] float32, whitened or not.
      weights: [B, T] float32.
      clip: epsilon, 0.2 in InstructGPT (appendix C.4).

    Returns:
      Sums over tokens of the loss, of the weights, and of the metrics: `clip_fraction`, the share
      of tokens that take the clipped term, which has no gradient; `kl_k1` and `kl_k3`, estimates of
      KL(old || new), nats a token.

    Source: arXiv 1707.06347, equation 7.
    """
    real = weights > 0.0
    log_ratios = jnp.where(real, log_probs - old_log_probs, 0.0)
    advantages = jnp.where(real, advantages, 0.0)
    ratios = jnp.exp(log_ratios)
    plain = -advantages * ratios
    clipped = -advantages * jnp.clip(ratios, 1.0 - clip, 1.0 + clip)
    k1, k3 = approximate_kl(jnp.zeros_like(log_ratios), log_ratios)
    metric_sums = {
        "clip_fraction": jnp.sum(weights * (clipped > plain).astype(jnp.float32)),
        "kl_k1": jnp.sum(weights * k1),
        "kl_k3": jnp.sum(weights * k3),
    }
    return jnp.sum(weights * jnp.maximum(plain, clipped)), jnp.sum(weights), metric_sums


def ratio_extremes(
    log_probs: jax.Array, old_log_probs: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The least and the greatest ratio of new to old probabilities; 1 and 1 without tokens."""
    real = weights > 0.0
    ratios = jnp.exp(jnp.where(real, log_probs - old_log_probs, 0.0))
    least = jnp.min(jnp.where(real, ratios, jnp.inf))
    greatest = jnp.max(jnp.where(real, ratios, -jnp.inf))
    some = jnp.any(real)
    return jnp.where(some, least, 1.0), jnp.where(some, greatest, 1.0)


def value_loss(
    values: jax.Array,
    old_values: jax.Array,
    returns: jax.Array,
    weights: jax.Array,
    *,
    clip: float | None = 0.2,
) -> Sums:
    """Half the squared error of the value network, the larger of plain and clipped.

    1/2 max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2): a value that has moved towards
    its return by more than `clip` has no gradient, and a value that has moved away from it has one.

    Args:
      values: [B, T] float32, by the network that learns.
      old_values: [B, T] float32, by the network before the update.
      returns: [B, T] float32, from `advantages.estimate`.
      weights: [B, T] float32.
      clip: how far values may move; None: the plain squared error. 0.2 in the code of Ziegler et
        al. 2019 (arXiv 1909.08593); InstructGPT does not say.

    Returns:
      Sums over tokens of the loss, of the weights, and of `value_clip_fraction`, the share of
      tokens that take the clipped term, which has no gradient.
    """
    real = weights > 0.0
    values, old_values = jnp.where(real, values, 0.0), jnp.where(real, old_values, 0.0)
    returns = jnp.where(real, returns, 0.0)
    plain = jnp.square(values - returns)
    near = values if clip is None else jnp.clip(values, old_values - clip, old_values + clip)
    clipped = jnp.square(near - returns)
    held = (clipped > plain).astype(jnp.float32)
    loss = 0.5 * jnp.sum(weights * jnp.maximum(plain, clipped))
    return loss, jnp.sum(weights), {"value_clip_fraction": jnp.sum(weights * held)}


def with_pretraining(gradient: Any, pretraining: Any, coefficient: float = 27.8) -> Any:
    """PPO-ptx: the policy's gradient plus gamma times that of the pretraining loss.

    Both are gradients of means that are minimised: the policy's over the tokens of a minibatch, the
    pretraining loss (minus log-likelihood, nats a token) over the pretraining tokens that belong to
    that minibatch.

    Args:
      gradient: of the policy loss, a tree.
      pretraining: of the pretraining loss, a tree of the same structure.
      coefficient: gamma, 27.8 in InstructGPT (appendix C.4); 0 is PPO.

    Source: InstructGPT, equation 2, which does not say whether its expectations are of tokens or
    of texts.
    """
    return jax.tree.map(lambda a, b: a + coefficient * b, gradient, pretraining)
