"""Block-sparse attention in plain XLA: visits only blocks that are not empty, keeps no n x n array.

The score matrix is covered with tiles. Forward, a tile updates a running softmax (peak, total,
output); backward, its weights are computed again from the saved log-sum-exp. Short texts are
unrolled, a tile being a run of adjacent blocks in a block row; long ones scan over equal blocks,
so that neither program nor memory grows with the square of the length.

    out, lse = blockwise(q, k, v, rules)

Sources: running softmax and recomputing backward, FlashAttention, arXiv 2205.14135, algorithms 1
and 4; FlashAttention-2, arXiv 2307.08691, section 3.1.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.attention.blocks import EMPTY, FULL, PARTIAL, block_map
from gptjax.attention.implementations.reference import FLOOR
from gptjax.attention.restarts import anywhere
from gptjax.attention.rules import Rules, Tile

# Measured on a CPU, forward and backward, head size 64. Unrolled rows of blocks run at the same
# time, small ones skip more of the upper half; from 512 positions on a scan is as fast and
# compiles in a third of the time.
UNROLLED_LENGTH = 256
UNROLLED_BLOCK = 64
# Scanned: a pair of positions takes about 1.2 times as long in the small blocks as in the large.
SMALL_BLOCK, LARGE_BLOCK = 128, 256
SMALL_BLOCK_COST = 1.2


def blockwise(
    q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules
) -> tuple[jax.Array, jax.Array]:
    """Attention tile by tile; arguments and results as `reference.reference`."""
    num_queries, num_keys = q.shape[3], k.shape[2]
    if _is_short(num_queries, num_keys):
        return _attention(q, k, v, rules)
    pad_q, pad_k = -num_queries % LARGE_BLOCK, -num_keys % LARGE_BLOCK
    q = jnp.pad(q, [(0, 0)] * 3 + [(0, pad_q), (0, 0)])
    k, v = (jnp.pad(x, [(0, 0)] * 2 + [(0, pad_k), (0, 0)]) for x in (k, v))
    out, lse = _attention(q, k, v, rules.padded(num_keys, pad_q, pad_k))
    return out[..., :num_queries, :], lse[..., :num_queries]


@jax.custom_vjp
def _attention(
    q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules
) -> tuple[jax.Array, jax.Array]:
    return _forward(q, k, v, rules)[0]


def _forward(q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules) -> tuple[Any, Any]:
    num_queries, num_keys = q.shape[3], k.shape[2]
    if _is_short(num_queries, num_keys):
        rows = []
        for q_start, tiles in _block_rows(rules, num_queries, num_keys):
            size = min(UNROLLED_BLOCK, num_queries - q_start)
            state = _nothing_yet((*q.shape[:3], size), v.shape[-1])
            for tile, masked in tiles:
                state = _absorb(state, tile, masked, q, k, v)
            rows.append(state)
        peak, total, out = (jnp.concatenate(x, axis=3) for x in zip(*rows, strict=True))
    else:

        def step(state: Any, tile: Tile, masked: bool) -> Any:
            row = _absorb([tile.queries(x) for x in state], tile, masked, q, k, v)
            return [tile.put_queries(x, part) for x, part in zip(state, row, strict=True)]

        state = _nothing_yet(q.shape[:4], v.shape[-1])
        peak, total, out = _scan_tiles(step, state, rules, num_queries, num_keys)
    some = total > 0
    total = jnp.where(some, total, 1)
    out = (out / total).astype(v.dtype)
    lse = peak + jnp.log(total)
    # +inf makes the recomputed weights exp(score - lse) of a row without keys exactly zero.
    residuals = (q, k, v, rules, out, jnp.where(some, lse, jnp.inf))
    return (out, jnp.where(some, lse, -jnp.inf)[..., 0]), residuals


def _nothing_yet(rows: tuple[int, ...], head_dim: int) -> list[jax.Array]:
    """A running softmax before its first tile: peak, total and unnormalised output of each row."""
    peak = jnp.full((*rows, 1), FLOOR, jnp.float32)
    return [peak, jnp.zeros_like(peak), jnp.zeros((*rows, head_dim), jnp.float32)]


def _absorb(
    state: list[jax.Array], tile: Tile, masked: bool, q: jax.Array, k: jax.Array, v: jax.Array
) -> list[jax.Array]:
    """The running softmax of the tile's rows after the tile."""
    peak, total, out = state
    scores = _times_keys(tile.queries(q), tile.keys(k)) * tile.rules.scale
    scores = tile.changed(scores, tile.rules.score)
    if masked:
        scores = jnp.where(tile.mask(), scores, -jnp.inf)
    new_peak = jnp.maximum(peak, scores.max(-1, keepdims=True))
    weights, fade = jnp.exp(scores - new_peak), jnp.exp(peak - new_peak)
    total = total * fade + weights.sum(-1, keepdims=True)
    keep = tile.keep(*q.shape[:3])
    if keep is not None:
        weights = weights * keep
    out = out * fade + _over_keys(weights.astype(v.dtype), tile.keys(v))
    return [new_peak, total, out]


def _backward(residuals: Any, cotangents: Any) -> Any:
    q, k, v, rules, out, lse = residuals
    out_bar, lse_bar = cotangents
    delta = (out_bar.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1, keepdims=True)
    delta = delta - lse_bar[..., None]
    num_queries, num_keys = q.shape[3], k.shape[2]

    def gradients(tile: Tile, masked: bool) -> tuple[Any, Any, Any, Any]:
        """The tile's shares in the gradients of q (at its rows), k, v (its columns) and score."""
        queries, keys, values = tile.queries(q), tile.keys(k), tile.keys(v)
        bar = tile.queries(out_bar)
        scores = _times_keys(queries, keys) * rules.scale
        mask = tile.mask() if masked else None
        changed, pull = jax.vjp(functools.partial(tile.changed, mask=mask), scores, rules.score)
        if mask is not None:
            changed = jnp.where(mask, changed, -jnp.inf)
        weights = jnp.exp(changed - tile.queries(lse))
        weights_bar = _times_keys(bar, values)
        keep, kept = tile.keep(*q.shape[:3]), weights
        if keep is not None:
            kept, weights_bar = weights * keep, weights_bar * keep
        scores_bar, score_bar = pull(weights * (weights_bar - tile.queries(delta)))
        scores_bar = (scores_bar * rules.scale).astype(q.dtype)
        return (
            _over_keys(scores_bar, keys),
            _over_queries(scores_bar, queries),
            _over_queries(kept.astype(v.dtype), bar),
            score_bar,
        )

    score_bar = jax.tree.map(jnp.zeros_like, rules.score)
    if _is_short(num_queries, num_keys):
        shares: list[list[tuple[int, jax.Array]]] = [[], [], []]
        for _, tiles in _block_rows(rules, num_queries, num_keys):
            for tile, masked in tiles:
                q_part, k_part, v_part, more = gradients(tile, masked)
                shares[0].append((tile.q_start, q_part))
                shares[1].append((tile.k_start, k_part))
                shares[2].append((tile.k_start, v_part))
                score_bar = jax.tree.map(jnp.add, score_bar, more)
        q_bar, k_bar, v_bar = (
            _assemble(parts, x.shape) for parts, x in zip(shares, (q, k, v), strict=True)
        )
    else:

        def step(state: Any, tile: Tile, masked: bool) -> Any:
            q_bar, k_bar, v_bar, score_bar = state
            q_part, k_part, v_part, more = gradients(tile, masked)
            return (
                tile.put_queries(q_bar, tile.queries(q_bar) + q_part),
                tile.put_keys(k_bar, tile.keys(k_bar) + k_part),
                tile.put_keys(v_bar, tile.keys(v_bar) + v_part),
                jax.tree.map(jnp.add, score_bar, more),
            )

        zeros = (jnp.zeros(x.shape, jnp.float32) for x in (q, k, v))
        state = (*zeros, score_bar)
        q_bar, k_bar, v_bar, score_bar = _scan_tiles(step, state, rules, num_queries, num_keys)
    bars = (bar.astype(x.dtype) for bar, x in zip((q_bar, k_bar, v_bar), (q, k, v), strict=True))
    static = rules.pattern, rules.scale, rules.dropout_rate, rules.restarts
    return *bars, Rules(*static, score=score_bar)


_attention.defvjp(_forward, _backward)


def _is_short(num_queries: int, num_keys: int) -> bool:
    return max(num_queries, num_keys) <= UNROLLED_LENGTH


def _kinds(rules: Rules, num_queries: int, num_keys: int, block: int) -> np.ndarray:
    """The block map, as far as it is known before the positions and segments are."""
    pattern = anywhere(rules.pattern) if rules.restarts else rules.pattern
    kinds = block_map(pattern, num_queries, num_keys, block, block)
    if rules.restarts:
        return np.where(kinds == EMPTY, EMPTY, PARTIAL)
    if rules.q_positions is not None or rules.k_positions is not None:
        return np.full_like(kinds, PARTIAL)
    if rules.q_segments is not None:
        return np.where(kinds == EMPTY, EMPTY, PARTIAL)
    return kinds


def _block_rows(
    rules: Rules, num_queries: int, num_keys: int
) -> list[tuple[int, list[tuple[Tile, bool]]]]:
    """For each row of blocks its first query and its tiles, with whether a tile needs the mask.

    A tile is a run of adjacent blocks: one wide product is faster than several narrow ones.
    """
    block, rows = UNROLLED_BLOCK, []
    for row, kinds in enumerate(_kinds(rules, num_queries, num_keys, block)):
        q_start = row * block
        q_size = min(block, num_queries - q_start)
        edges = np.flatnonzero(np.diff(kinds != EMPTY, prepend=False, append=False)).tolist()
        tiles = []
        for low, high in zip(edges[::2], edges[1::2], strict=True):
            k_size = min(high * block, num_keys) - low * block
            tile = rules.tile(q_start, q_size, low * block, k_size)
            tiles.append((tile, bool((kinds[low:high] == PARTIAL).any())))
        rows.append((q_start, tiles))
    return rows


def _assemble(shares: list[tuple[int, jax.Array]], shape: tuple[int, ...]) -> jax.Array:
    """The sum of shares that lie at the given starts of the next to last axis of `shape`."""
    length, parts = shape[-2], []
    for low in range(0, length, UNROLLED_BLOCK):
        high = min(low + UNROLLED_BLOCK, length)
        total = jnp.zeros((*shape[:-2], high - low, shape[-1]), jnp.float32)
        for start, share in shares:
            if start < high and low < start + share.shape[-2]:
                total = total + share[..., low - start : high - start, :]
        parts.append(total)
    return jnp.concatenate(parts, axis=-2)


def _scan_tiles(
    step: Callable[[Any, Tile, bool], Any],
    state: Any,
    rules: Rules,
    num_queries: int,
    num_keys: int,
) -> Any:
    """Folds `step` over the blocks that are not empty, the full ones first and unmasked."""
    block = block_size(rules, num_queries, num_keys)
    kinds = _kinds(rules, num_queries, num_keys, block)
    for kind in (FULL, PARTIAL):
        starts = np.argwhere(kinds == kind).astype(np.int32) * block

        def visit(state: Any, start: jax.Array, masked: bool = kind == PARTIAL) -> Any:
            return step(state, rules.tile(start[0], block, start[1], block), masked), None

        if len(starts):
            state, _ = jax.lax.scan(visit, state, jnp.asarray(starts))
    return state


def block_size(rules: Rules, num_queries: int, num_keys: int) -> int:
    """Positions in a block: of the sizes that are scanned, the one that takes less time in all."""
    if _is_short(num_queries, num_keys):
        return UNROLLED_BLOCK

    def pairs(block: int) -> int:
        return int(np.count_nonzero(_kinds(rules, num_queries, num_keys, block))) * block**2

    small = SMALL_BLOCK_COST * pairs(SMALL_BLOCK) < pairs(LARGE_BLOCK)
    return SMALL_BLOCK if small else LARGE_BLOCK


# The three products of a tile. Queries of a group are rows of one matrix: with a second contracted
# axis XLA would copy the transposed operands first.


def _times_keys(q: jax.Array, k: jax.Array) -> jax.Array:
    """[B, K, G, q, D] x [B, K, k, D] -> [B, K, G, q, k]."""
    return _dot("bkqd,bksd->bkqs", _rows(q), k).reshape(*q.shape[:4], k.shape[2])


def _over_keys(weights: jax.Array, v: jax.Array) -> jax.Array:
    """[B, K, G, q, k] x [B, K, k, D] -> [B, K, G, q, D]."""
    return _dot("bkqs,bksd->bkqd", _rows(weights), v).reshape(*weights.shape[:4], v.shape[3])


def _over_queries(weights: jax.Array, q: jax.Array) -> jax.Array:
    """[B, K, G, q, k] x [B, K, G, q, D] -> [B, K, k, D]."""
    return _dot("bkqs,bkqd->bksd", _rows(weights), _rows(q))


def _rows(x: jax.Array) -> jax.Array:
    batch, key_heads, groups, size, width = x.shape
    return x.reshape(batch, key_heads, groups * size, width)


def _dot(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)
