"""Block-sparse attention in plain XLA: visits only blocks that are not empty, keeps no n x n array.

The score matrix is covered with tiles. Forward, a tile updates a running softmax (peak, total,
output); backward, its weights are computed again from the saved log-sum-exp. Few tiles are
unrolled, each as wide as a run of adjacent blocks; many become `lax.scan`s over equal blocks, so
that neither program nor memory grows with the square of the length.

    out, lse = blockwise(q, k, v, rules)

Sources: running softmax and recomputing backward, FlashAttention, arXiv 2205.14135, algorithms 1
and 4, and FlashAttention-2, arXiv 2307.08691, section 3.1.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.attention.blocks import EMPTY, FULL, PARTIAL, block_map
from gptjax.attention.reference import FLOOR
from gptjax.attention.rules import Rules, Tile

# Measured on CPU: small blocks skip more of the upper half, large ones run closer to peak.
UNROLLED_LENGTH = 1024
UNROLLED_BLOCK = 128
SCANNED_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Group:
    """Tiles of one size that are swept together: (query, key) starts, and whether to mask."""

    starts: np.ndarray
    q_size: int
    k_size: int
    masked: bool


def blockwise(
    q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules
) -> tuple[jax.Array, jax.Array]:
    """Attention tile by tile; arguments and results as `reference.reference`."""
    num_queries, num_keys = q.shape[3], k.shape[2]
    if max(num_queries, num_keys) <= UNROLLED_LENGTH:
        return _attention(q, k, v, rules)
    pad_q, pad_k = -num_queries % SCANNED_BLOCK, -num_keys % SCANNED_BLOCK
    q = jnp.pad(q, [(0, 0)] * 3 + [(0, pad_q), (0, 0)])
    k, v = (jnp.pad(x, [(0, 0)] * 2 + [(0, pad_k), (0, 0)]) for x in (k, v))
    out, lse = _attention(q, k, v, rules.padded(num_keys, pad_q, pad_k))
    return out[..., :num_queries, :], lse[..., :num_queries]


def _groups(rules: Rules, num_queries: int, num_keys: int) -> list[Group]:
    """The tiles that cover every pair that may attend, unmasked ones first."""
    unrolled = max(num_queries, num_keys) <= UNROLLED_LENGTH
    block = UNROLLED_BLOCK if unrolled else SCANNED_BLOCK
    kinds = block_map(rules.pattern, num_queries, num_keys, block, block)
    if rules.q_positions is not None or rules.k_positions is not None:
        kinds = np.full_like(kinds, PARTIAL)
    elif rules.q_segments is not None:
        kinds = np.where(kinds == EMPTY, EMPTY, PARTIAL)
    if unrolled:
        return [
            Group(
                starts=np.array([[row * block, low * block]]),
                q_size=min(block, num_queries - row * block),
                k_size=min(high * block, num_keys) - low * block,
                masked=bool((kinds[row, low:high] == PARTIAL).any()),
            )
            for row in range(len(kinds))
            for low, high in _runs(kinds[row] != EMPTY)
        ]
    starts = {kind: np.argwhere(kinds == kind).astype(np.int32) * block for kind in (FULL, PARTIAL)}
    return [Group(s, block, block, kind == PARTIAL) for kind, s in starts.items() if len(s)]


def _runs(present: np.ndarray) -> list[tuple[int, int]]:
    """[low, high) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _sweep(
    visit: Callable[[Any, Tile, bool], Any], state: Any, rules: Rules, n: int, m: int
) -> Any:
    """Folds `visit` over all tiles of an n x m score matrix."""
    for group in _groups(rules, n, m):

        def step(state: Any, start: Any, group: Group = group) -> tuple[Any, None]:
            tile = rules.tile(start[0], group.q_size, start[1], group.k_size)
            return visit(state, tile, group.masked), None

        if len(group.starts) == 1:
            state, _ = step(state, group.starts[0].tolist())
        else:
            state, _ = jax.lax.scan(step, state, jnp.asarray(group.starts))
    return state


@jax.custom_vjp
def _attention(
    q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules
) -> tuple[jax.Array, jax.Array]:
    return _forward(q, k, v, rules)[0]


def _forward(q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules) -> tuple[Any, Any]:
    rows = (*q.shape[:-1], 1)

    def visit(state: Any, tile: Tile, masked: bool) -> Any:
        peak, total, out = (tile.queries(x) for x in state)
        s = _dot("bkgqd,bksd->bkgqs", tile.queries(q), tile.keys(k)) * rules.scale
        if rules.score is not None:
            s = tile.changed(s, rules.score)
        if masked:
            s = jnp.where(tile.mask(), s, -jnp.inf)
        new_peak = jnp.maximum(peak, s.max(-1, keepdims=True))
        weights, fade = jnp.exp(s - new_peak), jnp.exp(peak - new_peak)
        total = total * fade + weights.sum(-1, keepdims=True)
        keep = tile.keep(*q.shape[:3])
        if keep is not None:
            weights = weights * keep
        out = out * fade + _dot("bkgqs,bksd->bkgqd", weights.astype(v.dtype), tile.keys(v))
        return tuple(
            tile.put_queries(x, y) for x, y in zip(state, (new_peak, total, out), strict=True)
        )

    state = (
        jnp.full(rows, FLOOR, jnp.float32),
        jnp.zeros(rows, jnp.float32),
        jnp.zeros((*q.shape[:-1], v.shape[-1]), jnp.float32),
    )
    peak, total, out = _sweep(visit, state, rules, q.shape[3], k.shape[2])
    some = total > 0
    total = jnp.where(some, total, 1)
    out = (out / total).astype(v.dtype)
    lse = peak + jnp.log(total)
    shown = jnp.where(some, lse, -jnp.inf)[..., 0]
    # +inf makes the recomputed weights exp(score - lse) of a row without keys exactly zero.
    return (out, shown), (q, k, v, rules, out, jnp.where(some, lse, jnp.inf))


def _backward(residuals: Any, cotangents: Any) -> Any:
    q, k, v, rules, out, lse = residuals
    out_bar, lse_bar = cotangents
    delta = (out_bar.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1, keepdims=True)
    delta = delta - lse_bar[..., None]

    def visit(state: Any, tile: Tile, masked: bool) -> Any:
        q_bar, k_bar, v_bar, score_bar = state
        queries, keys, values = tile.queries(q), tile.keys(k), tile.keys(v)
        bar = tile.queries(out_bar)
        s = _dot("bkgqd,bksd->bkgqs", queries, keys) * rules.scale
        if rules.score is not None:
            s, pull = jax.vjp(lambda f, s: tile.changed(s, f), rules.score, s)
        if masked:
            s = jnp.where(tile.mask(), s, -jnp.inf)
        weights = jnp.exp(s - tile.queries(lse))
        weights_bar = _dot("bkgqd,bksd->bkgqs", bar, values)
        keep = tile.keep(*q.shape[:3])
        kept = weights
        if keep is not None:
            kept, weights_bar = weights * keep, weights_bar * keep
        s_bar = weights * (weights_bar - tile.queries(delta))
        if rules.score is not None:
            more, s_bar = pull(s_bar)
            score_bar = jax.tree.map(jnp.add, score_bar, more)
        s_bar = (s_bar * rules.scale).astype(q.dtype)
        return (
            tile.put_queries(q_bar, tile.queries(q_bar) + _dot("bkgqs,bksd->bkgqd", s_bar, keys)),
            tile.put_keys(k_bar, tile.keys(k_bar) + _dot("bkgqs,bkgqd->bksd", s_bar, queries)),
            tile.put_keys(
                v_bar, tile.keys(v_bar) + _dot("bkgqs,bkgqd->bksd", kept.astype(v.dtype), bar)
            ),
            score_bar,
        )

    state = [jnp.zeros(x.shape, jnp.float32) for x in (q, k, v)]
    state.append(jax.tree.map(jnp.zeros_like, rules.score))
    q_bar, k_bar, v_bar, score_bar = _sweep(visit, tuple(state), rules, q.shape[3], k.shape[2])
    return (
        q_bar.astype(q.dtype),
        k_bar.astype(k.dtype),
        v_bar.astype(v.dtype),
        Rules(rules.pattern, rules.scale, rules.dropout_rate, score=score_bar),
    )


def _dot(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


_attention.defvjp(_forward, _backward)
