"""Reward of each token of an answer: a score at its end, minus the KL penalty.

Ziegler et al. 2019 (arXiv 1909.08593, section 2), InstructGPT (arXiv 2203.02155, section 3.5):

    R(x, y) = r(x, y) - beta log(policy(y | x) / reference(y | x))

Arrays [B, T] here are of drawn tokens: entry t holds the log-probability of one token, the value of
what stood before it and its reward. `mask` marks the entries of the answer; all others change
nothing, not even NaN.

    rewards = token_rewards(
        log_probs, reference, rollouts.mask, scores, rollouts.finished, kl_coefficient=0.02
    )
"""

import dataclasses

import jax
import jax.numpy as jnp

from gptjax.pytrees import pytree

Number = float | jax.Array


def last_token(mask: jax.Array) -> jax.Array:
    """Marks the last entry of each row's mask, [B, T] bool; none in an empty row."""
    remaining = jnp.cumsum(mask[:, ::-1], axis=1)[:, ::-1]
    return mask & (remaining == 1)


def token_rewards(
    log_probs: jax.Array,
    reference_log_probs: jax.Array,
    mask: jax.Array,
    scores: jax.Array,
    finished: jax.Array,
    *,
    kl_coefficient: Number,
    unfinished_score: float | None = None,
) -> jax.Array:
    """Rewards of single tokens: -beta (log policy - log reference), and the score at the end.

    The score comes once, at the answer's last token: its end token, or the last that there was room
    for. If the answer has no end token, `unfinished_score`, if given, replaces the score.

    Args:
      log_probs: [B, T] float32 nats, by the policy that drew the tokens, at the temperature it
        drew with.
      reference_log_probs: [B, T] float32 nats, by the reference, at the same temperature.
      mask: [B, T] bool, the answers' tokens, as `Rollouts.mask`. An empty answer earns nothing.
      scores: [B] float32, of whole answers.
      finished: [B] bool, whether an answer has its end token.
      kl_coefficient: beta, 0.02 in InstructGPT (appendix C.4).
      unfinished_score: what an answer without end token gets in place of its score, -1 in the code
        of Ziegler et al.; None: its score, which a reward model gives to half an answer.

    Returns:
      [B, T] float32, 0 off the mask.
    """
    if unfinished_score is not None:
        scores = jnp.where(finished, scores, unfinished_score)
    log_ratios = jnp.where(mask, log_probs - reference_log_probs, 0.0)
    return jnp.where(last_token(mask), scores[:, None], 0.0) - kl_coefficient * log_ratios


def answer_kl(log_probs: jax.Array, reference_log_probs: jax.Array, mask: jax.Array) -> jax.Array:
    """log(policy / reference) of whole answers, [B] float32 nats: on average their KL divergence.

    Arguments are those of `token_rewards`.
    """
    return jnp.sum(jnp.where(mask, log_probs - reference_log_probs, 0.0), axis=1)


def next_coefficient(
    coefficient: Number, kl: Number, target: float | None, gain: float = 0.1
) -> Number:
    """The KL coefficient of the next iteration.

    Adaptive: beta (1 + gain e), e = (kl - target) / target kept within -0.2 to 0.2. So 3 nats
    more than a target of 6 make 0.02 into 0.0204.

    Args:
      coefficient: beta of this iteration.
      kl: mean `answer_kl` of this iteration, nats an answer.
      target: wanted KL, nats an answer; None: beta is fixed, as in InstructGPT.
      gain: 0.1 in the paper; its code has episodes an iteration over a horizon of episodes.

    Source: Ziegler et al. 2019 (arXiv 1909.08593, section 2.2).
    """
    if target is None:
        return coefficient
    error = jnp.clip((kl - target) / target, -0.2, 0.2)
    return coefficient * (1.0 + gain * error)


@pytree
@dataclasses.dataclass(frozen=True)
class ScoreMoments:
    """Count, mean and sum of squared deviations of all scores so far, float32 scalars."""

    count: jax.Array
    mean: jax.Array
    deviations: jax.Array

    @classmethod
    def none(cls) -> "ScoreMoments":
        """Moments of no scores."""
        return cls(*(jnp.zeros((), jnp.float32) for _ in range(3)))

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation of the scores, 1 where it is 0."""
        variance = self.deviations / jnp.maximum(self.count, 1.0)
        return jnp.where(variance > 0.0, jnp.sqrt(jnp.where(variance > 0.0, variance, 1.0)), 1.0)

    def with_scores(self, scores: jax.Array) -> "ScoreMoments":
        """Moments of the scores so far and of `scores` [B] float32 (Chan et al. 1979).

        The deviations of equal scores are exactly 0, because their mean is not rounded.
        """
        size = jnp.float32(scores.size)
        count = self.count + size
        mean = scores[0] + jnp.mean(scores - scores[0])
        gap, share = mean - self.mean, size / count
        return ScoreMoments(
            count,
            jnp.where(self.count > 0.0, self.mean + gap * share, mean),
            self.deviations
            + jnp.sum(jnp.square(scores - mean))
            + jnp.square(gap) * self.count * share,
        )


def scaled_scores(
    scores: jax.Array, moments: ScoreMoments, *, centre: bool = False, limit: float | None = None
) -> jax.Array:
    """Scores [B] float32 divided by the standard deviation of all so far; not InstructGPT's.

    Args:
      scores: of whole answers.
      moments: with these scores in it.
      centre: whether the mean of all is subtracted first.
      limit: the largest magnitude that is left; None: any.

    Source: Engstrom et al. 2020 (arXiv 2005.12729, section 2) for the scale; Zheng et al. 2023
    (arXiv 2307.04964) for scores of whole answers, centred and limited.
    """
    scaled = (scores - moments.mean if centre else scores) / moments.deviation
    return scaled if limit is None else jnp.clip(scaled, -limit, limit)
