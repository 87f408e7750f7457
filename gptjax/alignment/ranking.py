"""K-wise ranking loss of reward models, and the calibration of their odds.

InstructGPT (arXiv 2203.02155, section 3.5, equation 1): labellers rank K answers to a prompt, and
all C(K, 2) comparisons are one batch element, each answer encoded once:

    loss = -1 / C(K, 2)  sum over pairs of log sigmoid(r(x, better) - r(x, worse))

    loss_sum, weight, metric_sums = ranking(RewardModel(config))(params, batch, rng)
    calibration(margins, weights).error
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gptjax.alignment.reward_model import RewardModel
from gptjax.training.losses import Batch, Loss, dropout_from


def pair_weights(preferred: jax.Array, num_answers: jax.Array) -> jax.Array:
    """Weight of each ordered pair of answers in the loss.

    A prompt of K answers has C(K, 2) pairs, each counting 1 / C(K, 2), divided over its annotators.
    If an annotator ties a pair, the pair is left out of the sum and of the prompt's weight, but the
    divisor stays C(K, 2). So all pairs of prompts of K answers count alike, and with any ties the
    mean loss of a model that knows nothing is ln 2. (The paper drops ties; it does not say what
    happens to the divisor.)

    Args:
      preferred: [B, K, K] float32, share of a prompt's annotators that prefer i to j; 0 both ways
        where all tie. `data.rankings.Ranking.preferred` makes it.
      num_answers: [B] int32, K of each prompt; answers from there on are padding.

    Returns:
      [B, K, K] float32; the sum of a prompt is 1 without ties, 0 if it has fewer than two answers.
    """
    real = jnp.arange(preferred.shape[1])[None] < num_answers[:, None]
    pairs = jnp.maximum(num_answers * (num_answers - 1) // 2, 1).astype(jnp.float32)
    both = real[:, :, None] & real[:, None, :]
    return jnp.where(both, preferred, 0.0) / pairs[:, None, None]


def ranking_sums(
    rewards: jax.Array, preferred: jax.Array, num_answers: jax.Array
) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """The ranking loss of rewards [B, K] float32; other arguments are those of `pair_weights`.

    Returns:
      Sums over prompts: of the loss, in nats a pair; of the weights, 1 a prompt without ties; and
      of the metrics, over those weights: `accuracy`, the share of pairs in the annotator's order,
      where equal rewards count half, and `margin`, the mean of r(better) - r(worse).
    """
    weights = pair_weights(preferred, num_answers)
    margins = jnp.where(weights > 0.0, rewards[:, :, None] - rewards[:, None, :], 0.0)
    right = 0.5 * (1.0 + jnp.sign(margins))
    metric_sums = {"accuracy": jnp.sum(weights * right), "margin": jnp.sum(weights * margins)}
    return jnp.sum(weights * jax.nn.softplus(-margins)), jnp.sum(weights), metric_sums


def ranking(model: RewardModel, *, share_prompts: bool = False) -> Loss:
    """The K-wise ranking loss as the training loop takes it.

    The batch holds preferred [B, K, K] and num_answers [B] as `pair_weights` takes them, and

    - whole texts: tokens [B, K, T] and lengths [B, K] int32; or,
    - with `share_prompts`, prompts [B, P], prompt_lengths [B], answers [B, K, A] and
      answer_lengths [B, K] int32, of which a prompt is encoded once.

    Args:
      model: the reward model.
      share_prompts: which of the two; losses and gradients are equal.

    Raises:
      ValueError: when called, shared prompts with dropout in training.
    """
    rewards_of = answer_rewards(model, share_prompts=share_prompts)

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        rewards = rewards_of(params, batch, rng)
        return ranking_sums(rewards, batch["preferred"], batch["num_answers"])

    return loss


def answer_rewards(
    model: RewardModel, *, share_prompts: bool = False
) -> Callable[[Any, Batch, jax.Array | None], jax.Array]:
    """The rewards of all answers, as a function (params, batch, rng) -> [B, K] float32.

    Entries of missing answers mean nothing. Arguments and batch are those of `ranking`.
    """
    c = model.config
    dropout = max(c.embedding_dropout, c.attention_dropout, c.residual_dropout)

    def rewards_of(params: Any, batch: Batch, rng: jax.Array | None) -> jax.Array:
        if share_prompts:
            if rng is not None and dropout:
                raise ValueError(
                    f"ranking: got shared prompts with dropout {dropout}, expected no dropout (or "
                    "whole texts)"
                )
            names = ("prompts", "prompt_lengths", "answers", "answer_lengths")
            parts = (batch[name] for name in names)
            shared: Any = model.apply({"params": params}, *parts, method=RewardModel.score_answers)
            return shared
        rows, count, length = batch["tokens"].shape
        rewards: Any = model.apply(
            {"params": params},
            batch["tokens"].reshape(rows * count, length),
            batch["lengths"].reshape(rows * count),
            **dropout_from(rng),
        )
        return rewards.reshape(rows, count)

    return rewards_of


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Confidence against success, in equal bins of confidence from 1/2 to 1.

    Attributes:
      weight: [bins], sum of the weights of the pairs in each.
      confidence: [bins], their mean confidence; NaN in an empty bin.
      accuracy: [bins], the share of them in the annotator's order; NaN in an empty bin.
      error: the expected calibration error, mean of |accuracy - confidence| over all pairs.
    """

    weight: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def calibration(margins: npt.ArrayLike, weights: npt.ArrayLike, bins: int = 10) -> Calibration:
    """Expected calibration error of a reward model's odds against its annotators.

    It prefers the answer of the higher reward, with confidence sigmoid |r(better) - r(worse)|.

    Args:
      margins: r(better) - r(worse), of any shape; equal rewards count as half right.
      weights: of the same shape, what each pair counts; a pair of weight 0 may have any margin.
      bins: number of bins.

    Raises:
      ValueError: no pair of positive weight, or a margin that is not a number.

    Source: Guo et al. 2017 (arXiv 1706.04599, section 2, equation 3).
    """
    weights = np.asarray(weights, np.float64).ravel()
    margins = np.asarray(margins, np.float64).ravel()[weights > 0]
    weights = weights[weights > 0]
    if not margins.size or np.isnan(margins).any():
        raise ValueError(
            f"margins: got {margins.size} pairs, {np.isnan(margins).sum()} of them NaN, expected "
            "one pair or more, none NaN"
        )
    confidences = 1.0 / (1.0 + np.exp(-np.abs(margins)))
    right = 0.5 * (1.0 + np.sign(margins))
    index = np.minimum(((2.0 * confidences - 1.0) * bins).astype(int), bins - 1)

    def total(x: np.ndarray) -> np.ndarray:
        return np.bincount(index, weights * x, minlength=bins)

    weight = total(np.ones_like(margins))
    filled = np.where(weight > 0, weight, np.nan)
    gaps = np.abs(total(right) - total(confidences))
    return Calibration(
        weight, total(confidences) / filled, total(right) / filled, float(gaps.sum() / weight.sum())
    )
