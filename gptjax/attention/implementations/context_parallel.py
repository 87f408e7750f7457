"""Attention over texts whose positions are divided over devices: keys gathered, or sent in a ring.

Each device keeps its own queries. With `gather` it is sent all keys and values at once. With `ring`
it attends to its own, sends them on, and attends to those it gets, until it has seen all it may
attend to; the parts of one softmax are joined by their log-sum-exps, which is exact. The gradient
goes round once more, so that no device ever holds more than its share.

    attend = context_parallel(mesh, "sequence", "ring")

Source: Liu et al. 2023, Ring Attention, arXiv 2310.01889, section 3. Differs from the paper: blocks
are computed again in the backward pass from the joined log-sum-exp, by `attend_with_lse`'s own
gradient; steps of the ring in which no device may attend to anything are left out.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from gptjax.attention.algebra import Pattern, in_order
from gptjax.attention.blocks import EMPTY, block_map
from gptjax.attention.dispatch import attend, attend_with_lse
from gptjax.attention.restarts import anywhere, asks_for_positions, within_segments
from gptjax.attention.rules import Score
from gptjax.pytrees import pytree


class _Places(NamedTuple):
    """Positions of queries or keys, int32 [1 or B, T], and their segment ids, [B, T] or None."""

    positions: Any
    segments: Any


@pytree
@dataclasses.dataclass(frozen=True)
class _FromHead:
    """A score change whose heads are counted from `first`: float32, as it is in a gradient."""

    score: Score
    first: jax.Array

    def __call__(self, scores: jax.Array, head: jax.Array, *positions: jax.Array) -> jax.Array:
        return self.score(scores, head + self.first.astype(jnp.int32), *positions)


def context_parallel(sharding: NamedSharding, way: str) -> Callable[..., jax.Array]:
    """An `attend` for queries, keys and values that a mesh divides along T.

    It takes what `attention.attend` does but explicit positions, a scale and a sharding. As
    positions are explicit inside, no block is skipped but for whole steps of the ring, and "auto"
    is blockwise.

    Args:
      sharding: how arrays [B, T, H, D] are divided: T by one axis, B and H by others or none.
      way: "gather" or "ring".

    Raises (the function returned):
        ValueError: dropout, whose bits go by the places in the whole text; an implementation that
            refuses explicit positions; lengths that differ or do not divide; a pattern whose
            cycle over the heads does not fit in a device's share of them.
    """
    over_batch, axis, over_heads, *_ = (*sharding.spec, None)
    assert isinstance(axis, str), "one axis of the mesh is to divide T"
    size = sharding.mesh.shape[axis]
    head_axes = over_heads if isinstance(over_heads, tuple) else (over_heads,)
    head_shares = math.prod(sharding.mesh.shape[name] for name in head_axes if name)

    def attend_context_parallel(
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        pattern: Pattern,
        *,
        causal: bool = True,
        impl: str = "auto",
        segment_ids: jax.Array | None = None,
        score: Score | None = None,
        dropout_rate: float = 0.0,
        dropout_rng: jax.Array | None = None,
    ) -> jax.Array:
        del dropout_rng
        length, heads = q.shape[1:3]
        if dropout_rate:
            raise ValueError(
                f"attend: got dropout_rate={dropout_rate} over a divided sequence, expected 0"
            )
        if k.shape[1] != length or length % size:
            raise ValueError(
                f"attend: got {length} queries and {k.shape[1]} keys over a sequence divided "
                f"{size} times, expected equal multiples of it"
            )
        if head_shares > 1 and heads // head_shares % len(pattern.per_head()):
            raise ValueError(
                f"attend: got {pattern} with {heads // head_shares} heads a device, expected a "
                f"multiple of the {len(pattern.per_head())} patterns"
            )
        impl = "blockwise" if impl == "auto" else impl
        options: dict[str, Any] = {"pattern": pattern, "causal": causal, "impl": impl}

        def local(
            q: jax.Array, k: jax.Array, v: jax.Array, score: Any, first: Any, places: _Places
        ) -> jax.Array:
            score = None if score is None else _FromHead(score, first[0])
            if way == "ring":
                steps = ring_steps(ordered, length, size, restarts)
                block = functools.partial(_block, attend_with_lse, options)
                return _ring(_Ring(block, steps, axis, size), q, k, v, score, places)
            gather = functools.partial(jax.lax.all_gather, axis_name=axis, tiled=True)
            whole = _Places(
                gather(places.positions, axis=1),
                None if places.segments is None else gather(places.segments, axis=1),
            )
            k, v = gather(k, axis=1), gather(v, axis=1)
            return _block(attend, options, q, k, v, score, places, whole)

        arrays = PartitionSpec(over_batch, axis, over_heads)
        segments = None if segment_ids is None else PartitionSpec(over_batch, axis)
        positions, rows = jnp.arange(length, dtype=jnp.int32)[None], PartitionSpec(None, axis)
        ordered = in_order(pattern) if causal else pattern
        restarts = False
        if segment_ids is not None and asks_for_positions(ordered, score):
            positions, rows, restarts = within_segments(segment_ids), segments, True
        run = jax.shard_map(
            local,
            mesh=sharding.mesh,
            in_specs=(
                *(arrays,) * 3,
                PartitionSpec(),
                PartitionSpec(over_heads),
                _Places(rows, segments),
            ),
            out_specs=arrays,
            check_vma=False,
        )
        places = _Places(positions, segment_ids)
        return run(q, k, v, score, jnp.arange(heads, dtype=jnp.float32), places)

    return attend_context_parallel


def _block(
    attention: Callable[..., Any],
    options: dict[str, Any],
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    score: Any,
    queries: _Places,
    keys: _Places,
) -> Any:
    """Attention of a device's queries to some keys, each at its place in the whole text."""
    segments = None if queries.segments is None else (queries.segments, keys.segments)
    return attention(
        q,
        k,
        v,
        **options,
        score=score,
        segment_ids=segments,
        q_positions=queries.positions,
        k_positions=keys.positions,
    )


def ring_steps(pattern: Pattern, length: int, size: int, restarts: bool) -> tuple[int, ...]:
    """Steps round the ring, ascending, after which some device may attend to the keys it holds."""
    share = length // size
    parts = [anywhere(part) if restarts else part for part in pattern.per_head()]
    maps = [block_map(part, length, length, share, share) for part in parts]
    some = np.any([kinds != EMPTY for kinds in maps], axis=0)
    devices = np.arange(size)
    return tuple(step for step in range(size) if some[devices, (devices - step) % size].any())


class _Ring(NamedTuple):
    """A ring of `size` devices along `axis`, and what each computes at which `steps`."""

    block: Callable[..., tuple[jax.Array, jax.Array]]
    steps: tuple[int, ...]
    axis: str
    size: int

    def send(self, tree: Any, hops: int) -> Any:
        """`tree` of the device `hops` before this one."""
        if hops % self.size == 0:
            return tree
        route = [(device, (device + hops) % self.size) for device in range(self.size)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, self.axis, route), tree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _ring(
    ring: _Ring, q: jax.Array, k: jax.Array, v: jax.Array, score: Any, places: _Places
) -> jax.Array:
    return _forward(ring, q, k, v, score, places)[0]


def _forward(
    ring: _Ring, q: jax.Array, k: jax.Array, v: jax.Array, score: Any, places: _Places
) -> tuple[jax.Array, Any]:
    keys, gone = (k, v, places), 0
    out = jnp.zeros((*q.shape[:3], v.shape[3]), jnp.float32)
    lse = jnp.full(q.shape[:3], -jnp.inf)
    for step in ring.steps:
        keys, gone = ring.send(keys, step - gone), step
        part, part_lse = ring.block(q, keys[0], keys[1], score, places, keys[2])
        joined = jnp.logaddexp(lse, part_lse)
        out = _share(lse, joined) * out + _share(part_lse, joined) * part.astype(jnp.float32)
        lse = joined
    out = out.astype(v.dtype)
    return out, (q, k, v, score, places, out, lse)


def _share(lse: jax.Array, joined: jax.Array) -> jax.Array:
    """The weight of a part in the whole softmax, [B, T, H, 1]; 0 where there is neither."""
    return jnp.where(jnp.isneginf(lse), 0.0, jnp.exp(lse - joined))[..., None]


def _backward(ring: _Ring, residuals: Any, out_bar: jax.Array) -> Any:
    # Else XLA sees that the same keys went round before, and keeps them since.
    residuals, out_bar = jax.lax.optimization_barrier((residuals, out_bar))
    q, k, v, score, places, out, lse = residuals
    out_bar, out = out_bar.astype(jnp.float32), out.astype(jnp.float32)
    zeros = functools.partial(jax.tree.map, lambda x: jnp.zeros(x.shape, jnp.float32))
    add = functools.partial(jax.tree.map, lambda total, x: total + x.astype(jnp.float32))
    keys, gone = (k, v, places), 0
    q_bar, keys_bar, score_bar = zeros(q), zeros((k, v)), zeros(score)
    for step in ring.steps:
        (keys, keys_bar), gone = ring.send((keys, keys_bar), step - gone), step
        block = functools.partial(ring.block, queries=places, keys=keys[2])
        (part, part_lse), pull = jax.vjp(block, q, keys[0], keys[1], score)
        share = _share(part_lse, lse)
        part_bar = share * out_bar
        lse_bar = jnp.sum(part_bar * (part.astype(jnp.float32) - out), axis=-1)
        q_part, k_part, v_part, score_part = pull((part_bar.astype(part.dtype), lse_bar))
        q_bar, score_bar = add(q_bar, q_part), add(score_bar, score_part)
        keys_bar = add(keys_bar, (k_part, v_part))
    k_bar, v_bar = ring.send(keys_bar, -gone)
    cast = functools.partial(jax.tree.map, lambda bar, x: bar.astype(x.dtype))
    return cast(q_bar, q), cast(k_bar, k), cast(v_bar, v), cast(score_bar, score), None


_ring.defvjp(_forward, _backward)
