"""Best-of-n sampling: the best of n answers, its KL divergence and its expected reward.

Stiennon et al. 2020 (arXiv 2009.01325, appendix G.3) for the KL divergence of best-of-n; Nakano
et al. 2021 (WebGPT, arXiv 2112.09332, appendix I) for estimating its reward from more answers.

    index = best(scores)
    curve = [(kl_of_best(n), expected_best(scores, n).mean()) for n in (1, 2, 4, 8, 16)]
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln


def best(scores: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The index [B] int32 of the highest score of `mask`; the first of equal ones.

    Args:
      scores: [B, N] float32, of N answers to each prompt.
      mask: [B, N] bool, which answers there are; None: all. 0 for a prompt without any.
    """
    candidates = scores if mask is None else jnp.where(mask, scores, -jnp.inf)
    return jnp.argmax(candidates, axis=1).astype(jnp.int32)


def kl_of_best(n: int) -> float:
    """log n - (n - 1) / n nats: the divergence of the best of n from one answer.

    Exact for continuous scores, which are never equal; otherwise an upper bound.

    Raises:
      ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n: got {n}, expected 1 or more")
    return math.log(n) - (n - 1) / n


def expected_best(scores: np.ndarray, n: int, values: np.ndarray | None = None) -> np.ndarray:
    """The mean score of the best of n answers, over all ways to take n of the N there are.

    It is unbiased, and has much less variance than one choice of n: the i-th lowest of N is the
    best of C(i - 1, n - 1) of the C(N, n) subsets.

    Args:
      scores: [B, N].
      n: at most N.
      values: [B, N], which are averaged over the answers that the scores choose, such as another
        judge's scores; None: the scores. Of equal scores the first is chosen.

    Returns:
      [B] float64.

    Raises:
      ValueError: n below 1 or above N.
    """
    scores = np.asarray(scores, np.float64)[:, ::-1]
    values = scores if values is None else np.asarray(values, np.float64)[:, ::-1]
    ordered = np.take_along_axis(values, np.argsort(scores, axis=1, kind="stable"), axis=1)
    count = ordered.shape[1]
    if not 1 <= n <= count:
        raise ValueError(f"n: got {n}, expected 1 to {count}, the answers to each prompt")
    rank = np.arange(n, count + 1)

    def log_choose(of: np.ndarray | int, take: int) -> np.ndarray:
        return gammaln(np.add(of, 1)) - gammaln(take + 1) - gammaln(np.subtract(of, take - 1))

    shares = np.exp(log_choose(rank - 1, n - 1) - log_choose(count, n))
    return ordered[:, n - 1 :] @ shares
