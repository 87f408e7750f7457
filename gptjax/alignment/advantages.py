"""Advantages of drawn tokens: generalised advantage estimation, whitening, explained variance.

Arrays [B, T] and `mask` are those of `token_rewards`: entries off the mask change nothing.

    advantages, returns = estimate(rewards, values, mask, discount=1.0, decay=0.95)
    advantages = whitened(advantages, mask)
"""

import jax
import jax.numpy as jnp


def estimate(
    rewards: jax.Array, values: jax.Array, mask: jax.Array, *, discount: float, decay: float
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimation, from the last token of each answer to the first.

    delta_t = r_t + gamma V_next - V_t and A_t = delta_t + gamma lambda A_next, where next is the
    answer's next token, past any gap of the mask, and V and A are 0 after its last.

    Args:
      rewards: [B, T] float32, from `token_rewards`.
      values: [B, T] float32, by the value network, of what stands before each drawn token.
      mask: [B, T] bool, the answers' tokens.
      discount: gamma, 1 in InstructGPT (appendix C.4).
      decay: lambda; not published there, 0.95 in the code of Ziegler et al. 2019.

    Returns:
      Advantages, and returns A_t + V_t, which the value network learns; [B, T] float32, 0 off the
      mask.

    Source: Schulman et al. 2016 (arXiv 1506.02438, equations 11, 12 and 16).
    """
    rewards, values = jnp.where(mask, rewards, 0.0), jnp.where(mask, values, 0.0)

    def step(later: tuple[jax.Array, jax.Array], at: tuple[jax.Array, jax.Array, jax.Array]):
        advantage, value = later
        reward, here, real = at
        delta = reward + discount * value - here
        advantage = jnp.where(real, delta + discount * decay * advantage, advantage)
        return (advantage, jnp.where(real, here, value)), advantage

    nothing = jnp.zeros_like(rewards[:, 0])
    columns = (rewards.T, values.T, mask.T)
    _, advantages = jax.lax.scan(step, (nothing, nothing), columns, reverse=True)
    advantages = jnp.where(mask, advantages.T, 0.0)
    return advantages, advantages + values


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of `x` over the mask, float32; 0 of an empty one.

    The mean of equal numbers is exactly that number, because it adds up differences from the
    largest. So nothing is ever divided by a spread that is only rounding.
    """
    count = jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)
    largest = jnp.max(x, where=mask, initial=-jnp.inf)
    largest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0.0))
    return largest + jnp.sum(jnp.where(mask, x - largest, 0.0)) / count


def masked_variance(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Population variance of `x` over the mask, float32."""
    return masked_mean(jnp.square(x - masked_mean(x, mask)), mask)


def whitened(x: jax.Array, mask: jax.Array, *, centre: bool = True) -> jax.Array:
    """`x` [B, T] float32 with variance 1 over the mask, and mean 0 or its own; 0 off the mask.

    Mean and variance are over the whole batch of answers, before it is cut into minibatches. The
    variance is the population's, plus 1e-8. Equal numbers become exactly 0, or stay as they are if
    `centre` is false.

    Source: the code of Ziegler et al. 2019 (arXiv 1909.08593); InstructGPT does not say.
    """
    mean = masked_mean(x, mask)
    white = (x - mean) * jax.lax.rsqrt(masked_variance(x, mask) + 1e-8)
    return jnp.where(mask, white if centre else white + mean, 0.0)


def explained_variance(values: jax.Array, returns: jax.Array, mask: jax.Array) -> jax.Array:
    """1 - var(returns - values) / var(returns) over the mask; 0 where returns do not vary.

    It is 1 for a perfect value network, 0 for one no better than a constant, and below 0 for one
    worse than a constant.
    """
    variance = masked_variance(returns, mask)
    unexplained = masked_variance(jnp.where(mask, returns - values, 0.0), mask)
    return jnp.where(
        variance > 0.0, 1.0 - unexplained / jnp.where(variance > 0.0, variance, 1.0), 0.0
    )
