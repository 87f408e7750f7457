"""The one attention call: checks its arguments, states its rules, picks an implementation.

Each implementation says what it refuses; one asked for by name that cannot compute a call raises,
naming those that can, and "auto" chooses among those that do not refuse. Nothing falls back.

    out = attend(q, k, v, "banded(window=256)")
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import NamedSharding

from gptjax.attention.algebra import Pattern, in_order
from gptjax.attention.device import current
from gptjax.attention.implementations.by_head import by_head
from gptjax.attention.implementations.factorized import factorized
from gptjax.attention.implementations.fused import FUSED
from gptjax.attention.implementations.implementation import Call, Implementation
from gptjax.attention.implementations.on_mesh import on_mesh
from gptjax.attention.implementations.reference import reference
from gptjax.attention.patterns import parse_one
from gptjax.attention.restarts import asks_for_positions, within_segments
from gptjax.attention.rules import Rules, Score
from gptjax.registry import Registry, unknown_name

IMPLEMENTATIONS: Registry[Implementation] = Registry("attention implementation")
IMPLEMENTATIONS.register("reference")(Implementation(reference))
IMPLEMENTATIONS.register("blockwise")(Implementation(factorized))
IMPLEMENTATIONS.register("fused")(FUSED)

Segments = jax.Array | tuple[jax.Array, jax.Array] | None

# "auto" takes the reference up to this many pairs of positions: there are no blocks to skip.
FEW_PAIRS = 64 * 64
# And, with explicit positions, which leave no block known to be empty, while scores are small.
MANY_PAIRS = 1 << 20


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pattern: Pattern | str,
    *,
    causal: bool = True,
    impl: str = "auto",
    segment_ids: Segments = None,
    q_positions: jax.Array | None = None,
    k_positions: jax.Array | None = None,
    score: Score | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_rng: jax.Array | None = None,
    sharding: NamedSharding | None = None,
) -> jax.Array:
    """Scaled dot-product attention along `pattern`.

    Args:
      q: queries [B, T, H, D].
      k: keys [B, S, K, D], H a multiple of K (grouped queries).
      v: values [B, S, K, D].
      pattern: who may attend, by positions; or its expression, as "banded(window=256)".
      causal: adds k_pos <= q_pos to every part of the pattern that states no order.
      impl: a name in IMPLEMENTATIONS, or "auto".
      segment_ids: int32 [B, T] (or a pair [B, T], [B, S]); attention stays within equal ids,
        negative ids are padding that nobody attends to or from.
      q_positions: int32 [T] or [B, T]; by default 0..n-1, or with `segment_ids` 0..n-1 within
        each segment, as if it were alone, the cases in which empty blocks are skipped. With a
        pair of ids positions do not restart.
      k_positions: int32 [S] or [B, S], the same for keys; negative ones are empty slots.
      score: pytree called as score(scores, head, q_pos, k_pos) -> scores on float32 scaled
        scores [B, K, H/K, q, k], the others broadcasting; gradients reach its arrays.
      scale: factor on the scores; 1/sqrt(D) by default.
      dropout_rate: share of attention weights dropped, 0 <= rate < 1.
      dropout_rng: key of the dropout; needed when the rate is not 0.
      sharding: how q is divided over a mesh, along B, H or both. Only a fused kernel has to be
        told, on several TPUs: the compiler divides all else as the arrays are.

    Returns:
      [B, T, H, D] in the dtype of v; zeros, with zero gradients, for a query that may attend
      to nothing.

    Raises:
      ValueError: in one line, for shapes, dtypes or values that do not fit, for an expression
        that cannot be read, for an unknown implementation, and for one that cannot compute the
        call.
    """
    return _attend(
        q,
        k,
        v,
        pattern,
        lse=False,
        causal=causal,
        impl=impl,
        segment_ids=segment_ids,
        q_positions=q_positions,
        k_positions=k_positions,
        score=score,
        scale=scale,
        dropout_rate=dropout_rate,
        dropout_rng=dropout_rng,
        sharding=sharding,
    )[0]


def attend_with_lse(
    q: jax.Array, k: jax.Array, v: jax.Array, pattern: Pattern | str, **options: Any
) -> tuple[jax.Array, jax.Array]:
    """Attends as `attend` does, and returns the log-sum-exp of each query's scores as well.

    `options` are the keywords of `attend`.
    The log-sum-exp is float32 [B, T, H], in nats, and -inf for a query that may attend to
    nothing; it has a gradient.
    """
    out, lse = _attend(q, k, v, pattern, lse=True, **options)
    assert lse is not None, "an implementation that has no log-sum-exp refuses to give one"
    return out, lse


def _attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pattern: Pattern | str,
    *,
    lse: bool,
    causal: bool = True,
    impl: str = "auto",
    segment_ids: Segments = None,
    q_positions: jax.Array | None = None,
    k_positions: jax.Array | None = None,
    score: Score | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_rng: jax.Array | None = None,
    sharding: NamedSharding | None = None,
) -> tuple[jax.Array, jax.Array | None]:
    _check(q, k, v)
    batch, num_queries, _, head_dim = q.shape
    num_keys = k.shape[1]
    if impl not in ("auto", *IMPLEMENTATIONS):
        raise unknown_name(IMPLEMENTATIONS.kind, impl, ("auto", *IMPLEMENTATIONS))
    if not 0 <= dropout_rate < 1:
        raise ValueError(f"attend: got dropout_rate={dropout_rate}, expected 0 <= rate < 1")
    seed = None
    if dropout_rate:
        if dropout_rng is None:
            raise ValueError(f"attend: got dropout_rate={dropout_rate}, expected dropout_rng too")
        seed = jax.random.bits(dropout_rng, (2,), "uint32")
    paired = isinstance(segment_ids, tuple)
    q_segments, k_segments = segment_ids if paired else (segment_ids, segment_ids)
    if (q_segments is None) != (k_segments is None):
        raise ValueError("attend: got segment_ids of one side only, expected both or neither")
    learned = jax.tree.leaves(score)
    if not all(isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating) for x in learned):
        raise ValueError(
            f"attend: got score {score!r}, expected a registered pytree of floating-point arrays"
        )
    pattern = parse_one(pattern) if isinstance(pattern, str) else pattern
    pattern = in_order(pattern) if causal else pattern
    restarts = segment_ids is not None and not paired and q_positions is k_positions is None
    restarts = restarts and asks_for_positions(pattern, score)
    if restarts:
        assert q_segments is not None
        q_positions = k_positions = within_segments(jnp.asarray(q_segments).reshape(-1, num_keys))
    rules = Rules(
        pattern=pattern,
        scale=head_dim**-0.5 if scale is None else float(scale),
        dropout_rate=float(dropout_rate),
        restarts=restarts,
        q_positions=_rows("q_positions", q_positions, batch, num_queries),
        k_positions=_rows("k_positions", k_positions, batch, num_keys),
        q_segments=_rows("segment_ids", q_segments, batch, num_queries, each=True),
        k_segments=_rows("segment_ids", k_segments, batch, num_keys, each=True),
        seed=seed,
        score=score,
    )
    device = current()
    call = Call(
        pattern=pattern,
        platform=device.platform,
        capability=device.capability,
        devices=1 if sharding is not None or _inside_shard_map() else device.count,
        num_queries=num_queries,
        num_keys=num_keys,
        head_dim=head_dim,
        value_dim=v.shape[3],
        dtype=q.dtype.name,
        positions=not restarts and (q_positions is not None or k_positions is not None),
        segments=segment_ids is not None,
        restarts=restarts,
        paired_segments=paired,
        score=score is not None,
        dropout=seed is not None,
        lse=lse,
    )
    one_pattern = functools.partial(_compute, call=call, impl=impl, sharding=sharding)
    return by_head(one_pattern, q, k, v, rules, pattern.per_head())


def _compute(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    rules: Rules,
    call: Call,
    impl: str,
    sharding: NamedSharding | None,
) -> tuple[jax.Array, jax.Array | None]:
    """One pattern in all heads: output [B, T, H, D] and log-sum-exp [B, T, H] or None."""
    call = dataclasses.replace(call, pattern=rules.pattern)
    name = choose(call) if impl == "auto" else impl
    implementation = IMPLEMENTATIONS.get(name)
    refusal = implementation.refuses(call)
    if refusal is not None:
        able = [x for x in IMPLEMENTATIONS if IMPLEMENTATIONS.get(x).refuses(call) is None]
        raise ValueError(
            f"attend: got impl={name!r} for {call}: {refusal}; expected one of: {', '.join(able)}"
        )
    batch, num_queries, num_heads, head_dim = q.shape
    q = q.reshape(batch, num_queries, k.shape[2], -1, head_dim).transpose(0, 2, 3, 1, 4)
    k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    compute = implementation.compute
    if implementation.opaque and sharding is not None:
        compute = on_mesh(compute, sharding)
    out, lse = compute(q, k, v, rules)
    out = out.transpose(0, 3, 1, 2, 4).reshape(batch, num_queries, num_heads, v.shape[3])
    if lse is not None:
        lse = lse.transpose(0, 3, 1, 2).reshape(batch, num_queries, num_heads)
    return out, lse


@functools.cache
def choose(call: Call) -> str:
    """The implementation that "auto" stands for; logged with the reason, once a call."""
    name, reason = choice(call)
    logging.info("attention: %s for %s: %s", name, call, reason)
    return name


def choice(call: Call) -> tuple[str, str]:
    """The implementation that "auto" stands for, and the reason."""
    refusal = FUSED.refuses(call)
    pairs = call.num_queries * call.num_keys
    if call.positions and pairs <= MANY_PAIRS:
        return "reference", "explicit positions leave no block known to be empty"
    if pairs <= FEW_PAIRS:
        return "reference", "too short to have blocks to skip"
    if refusal is None:
        return "fused", "one kernel of the device"
    return (
        "blockwise",
        f"skips empty blocks and recomputes weights backward (fused: {refusal})",
    )


def _inside_shard_map() -> bool:
    mesh = jax.sharding.get_abstract_mesh()
    return bool(mesh.axis_names) and mesh.are_all_axes_manual


def _check(q: jax.Array, k: jax.Array, v: jax.Array) -> None:
    fits = q.ndim == k.ndim == v.ndim == 4 and k.shape[:3] == v.shape[:3]
    if not fits or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ValueError(
            f"attend: got q {q.shape}, k {k.shape}, v {v.shape}, expected q [B, T, H, D] and "
            "k, v [B, S, K, D]"
        )
    if k.shape[2] == 0 or q.shape[2] % k.shape[2]:
        raise ValueError(
            f"attend: got {q.shape[2]} query heads and {k.shape[2]} key heads, expected a multiple"
        )
    if not q.dtype == k.dtype == v.dtype or not jnp.issubdtype(q.dtype, jnp.floating):
        raise ValueError(
            f"attend: got q {q.dtype}, k {k.dtype}, v {v.dtype}, expected one floating dtype"
        )


def _rows(
    name: str, x: jax.Array | None, batch: int, length: int, each: bool = False
) -> jax.Array | None:
    """`x` [length] or [batch, length] as int32 [1 or batch, length], or one row for each."""
    if x is None:
        return None
    if x.shape not in ((length,), (1, length), (batch, length)):
        raise ValueError(
            f"attend: got {name} {x.shape}, expected ({length},) or ({batch}, {length})"
        )
    rows = jnp.asarray(x, jnp.int32).reshape(-1, length)
    return jnp.broadcast_to(rows, (batch, length)) if each else rows
