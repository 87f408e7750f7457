"""Dense, masked attention that writes the formula down: the oracle of the other implementations.

Holds all scores [B, H, T, S] at once and leaves the backward pass to JAX; right for short texts
and for one-token decoding.

    out, lse = reference(q, k, v, rules)

Source: arXiv 1706.03762, equation 1.
"""

import jax
import jax.numpy as jnp

from gptjax.attention.device import current
from gptjax.attention.rules import Rules

# A finite floor under row maxima: a row of nothing but -inf then has weights exp(-inf) = 0.
FLOOR = -1e30
FEW_QUERIES = 32  # of a key head


def reference(
    q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules
) -> tuple[jax.Array, jax.Array]:
    """Attention over the whole score matrix.

    Args:
      q: grouped queries [B, K, G, T, D].
      k: keys [B, K, S, D].
      v: values [B, K, S, D].
      rules: who may attend, changed scores, dropout.

    Returns:
      Output [B, K, G, T, D] in the dtype of v, and the float32 log-sum-exp [B, K, G, T] of
      the scores (nats), -inf where a query may attend nothing.
    """
    batch, key_heads, groups, num_queries, _ = q.shape
    tile = rules.tile(0, num_queries, 0, k.shape[2])
    scores = _scores(q, k)
    mask = tile.mask()
    scores = tile.changed(scores * rules.scale, rules.score, mask)
    scores = jnp.where(mask, scores, -jnp.inf)
    peak = jax.lax.stop_gradient(jnp.maximum(scores.max(-1, keepdims=True), FLOOR))
    weights = jnp.exp(scores - peak)
    total = weights.sum(-1, keepdims=True)
    some = total > 0
    total = jnp.where(some, total, 1)
    lse = jnp.where(some, peak + jnp.log(total), -jnp.inf)[..., 0]
    weights = weights / total
    keep = tile.keep(batch, key_heads, groups)
    if keep is not None:
        weights = weights * keep
    out = jnp.einsum(
        "bkgqs,bksd->bkgqd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
    )
    return out.astype(v.dtype), lse


def _scores(q: jax.Array, k: jax.Array) -> jax.Array:
    """The products [B, K, G, T, S] of queries and keys, in float32.

    Of few queries a CPU reads the keys as they are: of q k^T it would first turn all of them.
    """
    few = q.shape[2] * q.shape[3] <= FEW_QUERIES and current().platform == "cpu"
    equation = "bksd,bkgqd->bksgq" if few else "bkgqd,bksd->bkgqs"
    pair = (k, q) if few else (q, k)
    scores = jnp.einsum(equation, *pair, preferred_element_type=jnp.float32)
    return jnp.moveaxis(scores, 2, -1) if few else scores
