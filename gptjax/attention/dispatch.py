"""The one attention call: checks its arguments, states its rules, picks an implementation.

out = attend(q, k, v, parse("banded(window=256)")[0])
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from absl import logging

from gptjax.attention.blockwise import blockwise
from gptjax.attention.patterns import Pattern, in_order
from gptjax.attention.reference import reference
from gptjax.attention.rules import Rules, Score
from gptjax.registry import Registry

Implementation = Callable[[jax.Array, jax.Array, jax.Array, Rules], tuple[jax.Array, jax.Array]]
IMPLEMENTATIONS: Registry[Implementation] = Registry("attention implementation")
IMPLEMENTATIONS.register("reference")(reference)
IMPLEMENTATIONS.register("blockwise")(blockwise)


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pattern: Pattern,
    *,
    causal: bool = True,
    impl: str = "auto",
    segment_ids: jax.Array | tuple[jax.Array, jax.Array] | None = None,
    q_positions: jax.Array | None = None,
    k_positions: jax.Array | None = None,
    score: Score | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_rng: jax.Array | None = None,
) -> jax.Array:
    """Scaled dot-product attention along `pattern`.

    Args:
        q: queries [B, T, H, D].
        k: keys [B, S, K, D], H a multiple of K (grouped queries).
        v: values [B, S, K, D].
        pattern: who may attend, by positions.
        causal: adds k_pos <= q_pos to every part of the pattern that states no order.
        impl: a name in IMPLEMENTATIONS, or "auto".
        segment_ids: int32 [B, T] (or a pair [B, T], [B, S]); attention stays within equal ids,
            negative ids are padding that nobody attends to or from.
        q_positions: int32 [T] or [B, T]; by default 0..n-1, the only case in which empty blocks
            are skipped.
        k_positions: int32 [S] or [B, S], the same for keys; negative ones are empty slots.
        score: pytree called as score(scores, head, q_pos, k_pos) -> scores on float32 scaled
            scores [B, K, H/K, q, k], the others broadcasting; gradients reach its arrays.
        scale: factor on the scores; 1/sqrt(D) by default.
        dropout_rate: share of attention weights dropped, 0 <= rate < 1.
        dropout_rng: key of the dropout; needed when the rate is not 0.

    Returns:
        [B, T, H, D] in the dtype of v; zeros, with zero gradients, for a query that may attend
        to nothing.

    Raises:
        ValueError: for shapes or values that do not fit, and for an unknown implementation.
    """
    return attend_with_lse(
        q,
        k,
        v,
        pattern,
        causal=causal,
        impl=impl,
        segment_ids=segment_ids,
        q_positions=q_positions,
        k_positions=k_positions,
        score=score,
        scale=scale,
        dropout_rate=dropout_rate,
        dropout_rng=dropout_rng,
    )[0]


def attend_with_lse(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pattern: Pattern,
    *,
    causal: bool = True,
    impl: str = "auto",
    segment_ids: jax.Array | tuple[jax.Array, jax.Array] | None = None,
    q_positions: jax.Array | None = None,
    k_positions: jax.Array | None = None,
    score: Score | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_rng: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """As `attend`, with the float32 log-sum-exp [B, T, H] of each query's scores.

    The log-sum-exp (nats) is -inf for a query that may attend to nothing; it has a gradient.
    """
    batch, num_queries, num_heads, head_dim = q.shape
    _, num_keys, key_heads, _ = k.shape
    if v.shape[:3] != k.shape[:3] or k.shape[0] != batch or k.shape[3] != head_dim:
        raise ValueError(
            f"attend: got q {q.shape}, k {k.shape}, v {v.shape}, expected q [B, T, H, D] and "
            "k, v [B, S, K, D]"
        )
    if num_heads % key_heads:
        raise ValueError(
            f"attend: got {num_heads} query heads and {key_heads} key heads, expected a multiple"
        )
    if not 0 <= dropout_rate < 1:
        raise ValueError(f"attend: got dropout_rate={dropout_rate}, expected 0 <= rate < 1")
    seed = None
    if dropout_rate:
        if dropout_rng is None:
            raise ValueError(f"attend: got dropout_rate={dropout_rate}, expected dropout_rng too")
        seed = jax.random.bits(dropout_rng, (2,), "uint32")
    segments = segment_ids if isinstance(segment_ids, tuple) else (segment_ids, segment_ids)
    rules = Rules(
        pattern=in_order(pattern) if causal else pattern,
        scale=head_dim**-0.5 if scale is None else float(scale),
        dropout_rate=float(dropout_rate),
        q_positions=_rows("q_positions", q_positions, batch, num_queries),
        k_positions=_rows("k_positions", k_positions, batch, num_keys),
        q_segments=_rows("segment_ids", segments[0], batch, num_queries),
        k_segments=_rows("segment_ids", segments[1], batch, num_keys),
        seed=seed,
        score=score,
    )
    if impl == "auto":
        default = q_positions is None and k_positions is None
        impl = _choose(jax.default_backend(), str(pattern), num_queries, num_keys, default)
    compute = IMPLEMENTATIONS.get(impl)
    grouped = q.reshape(batch, num_queries, key_heads, -1, head_dim).transpose(0, 2, 3, 1, 4)
    out, lse = compute(grouped, k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3), rules)
    out = out.transpose(0, 3, 1, 2, 4).reshape(batch, num_queries, num_heads, v.shape[-1])
    return out, lse.transpose(0, 3, 1, 2).reshape(batch, num_queries, num_heads)


def _rows(name: str, x: jax.Array | None, batch: int, length: int) -> jax.Array | None:
    """`x` [length] or [batch, length] as int32 [1 or batch, length]."""
    if x is None:
        return None
    if x.shape not in ((length,), (1, length), (batch, length)):
        raise ValueError(
            f"attend: got {name} {x.shape}, expected ({length},) or ({batch}, {length})"
        )
    return jnp.asarray(x, jnp.int32).reshape(-1, length)


@functools.cache
def _choose(platform: str, pattern: str, num_queries: int, num_keys: int, default: bool) -> str:
    """The implementation that "auto" stands for; logged once for each distinct call."""
    if not default:
        name, reason = "reference", "explicit positions leave no block known to be empty"
    elif num_queries * num_keys <= 64 * 64:
        name, reason = "reference", "too short to have blocks to skip"
    else:
        name, reason = "blockwise", "skips empty blocks and recomputes weights backward"
    logging.info(
        "attention: %s for %s, %d queries x %d keys on %s: %s",
        *(name, pattern, num_queries, num_keys, platform, reason),
    )
    return name
