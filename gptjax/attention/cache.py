"""Keys and values kept between decoding steps, for any pattern; a bounded reach keeps a ring.

A cache is an explicit pytree; stacked on a leading axis it goes through a scan over layers. A
pattern that reaches a bounded distance back needs no more slots than that: later positions take
the slots of those that nobody can see any more, while the first positions of the text (attention
sinks, arXiv 2309.17453) keep theirs.

    cache = init_cache(batch, context_length, num_kv_heads, head_dim, jnp.float32, pattern=pattern)
    out, cache = cached_attend(q, k, v, cache, pattern, positions)   # a prompt, then one token
    cache = rollback(cache, lengths)                                 # forgets what was rejected
"""

import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.attention.algebra import EMPTY, Causal, Pattern, in_order
from gptjax.attention.blocks import block_map
from gptjax.attention.dispatch import attend
from gptjax.pytrees import STATIC, pytree

Caches = TypeVar("Caches")
BLOCK = 128  # positions of a block in which `check_decodable` looks


@pytree
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Key-value cache of one layer.

    Attributes:
      k: keys [B, K, S, D], in the order that attention reads them in.
      v: values [B, K, S, Dv].
      positions: int32 [B, S], the position by which patterns judge what each slot holds, which is
        that in the text but for an `order`; negative where empty.
      near: keys that a query may see behind it, itself included, which the ring of slots after
        the first `first` keeps; None: slot i is for position i.
      first: slots for the first positions of the text, never given to others.
    """

    k: jax.Array
    v: jax.Array
    positions: jax.Array
    near: int | None = dataclasses.field(default=None, metadata=STATIC)
    first: int = dataclasses.field(default=0, metadata=STATIC)

    @property
    def chunk(self) -> int:
        """The most positions that may be written at once."""
        slots = self.positions.shape[-1]
        return slots if self.near is None else slots - self.first - max(self.near - 1, 0)

    def slots(self, positions: jax.Array) -> jax.Array:
        """The slot of each position; one past the end, which is dropped, where there is none."""
        size = self.positions.shape[-1]
        if self.near is None:
            return jnp.where(positions >= 0, positions, size)
        ring = self.first + (positions - self.first) % (size - self.first)
        return jnp.where(positions < 0, size, jnp.where(positions < self.first, positions, ring))


def num_slots(pattern: Pattern, length: int, chunk: int = 1) -> int:
    """Slots that a cache needs for texts of up to `length` positions, written `chunk` at a time."""
    near, first = pattern.reach
    return length if near is None else min(length, first + max(near - 1, 0) + chunk)


def init_cache(
    batch: int,
    length: int,
    num_kv_heads: int,
    head_dim: int,
    dtype: Any,
    value_dim: int | None = None,
    *,
    pattern: Pattern | None = None,
    chunk: int = 1,
) -> KVCache:
    """An empty cache.

    Args:
      batch: number of sequences.
      length: the most positions a sequence may reach.
      num_kv_heads: key heads K.
      head_dim: size D of a head.
      dtype: of keys and values.
      value_dim: size of a value head; None: `head_dim`.
      pattern: who may attend; None keeps all positions, as does a pattern of unbounded reach.
      chunk: the most positions that will be written, or rolled back, at once.
    """
    slots = length if pattern is None else num_slots(pattern, length, chunk)
    near, first = pattern.reach if pattern is not None and slots < length else (None, 0)
    keys = jnp.zeros((batch, num_kv_heads, slots, head_dim), dtype)
    values = jnp.zeros((*keys.shape[:3], value_dim or head_dim), dtype)
    return KVCache(keys, values, jnp.full((batch, slots), -1, jnp.int32), near, first)


def cached_attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    cache: KVCache,
    pattern: Pattern,
    positions: jax.Array,
    *,
    order: jax.Array | None = None,
    **options: Any,
) -> tuple[jax.Array, KVCache]:
    """Writes a chunk of keys and values to the cache, then attends to all it holds.

    Args:
      q: queries of the chunk [B, T, H, D]; T = 1 in token by token decoding.
      k: its keys [B, T, K, D].
      v: its values [B, T, K, Dv].
      cache: what came before; sequences may have different lengths.
      pattern: who may attend; causality is added as in `attend`.
      positions: int32 [B, T] or [T], text positions of the chunk. Negative ones are padding:
        not stored.
      order: int32 [B, T], positions of the chunk by which patterns judge, now and later, see
        `wholes`; None: text positions.
      **options: further keywords of `attend`: impl, score, scale.

    Returns:
      Output [B, T, H, Dv] and the cache with the chunk in it. Where positions are traced, what
      would raise for their values gives outputs of NaN.

    Raises:
      ValueError: the chunk is longer, or the pattern reaches farther, than the cache was made
        for; positions past its end; or earlier queries of the text should have seen the
        chunk, because the pattern lets them look ahead: a prefix must arrive in one chunk.
    """
    batch, size = q.shape[0], q.shape[1]
    positions = jnp.broadcast_to(positions, (batch, size))
    _check(cache, pattern, size, positions)
    if order is not None and cache.near is not None:
        raise ValueError(
            f"cached_attend: got an order of its own with {pattern}, whose cache forgets what is "
            f"more than {cache.near} positions back, expected a pattern of unbounded reach"
        )
    judged = positions if order is None else order
    written = _write(cache, k, v, positions, judged)
    held = {"q_positions": judged, "k_positions": written.positions}
    out = attend(q, written.k.swapaxes(1, 2), written.v.swapaxes(1, 2), pattern, **held, **options)
    wrong = (positions >= cache.chunk) & (cache.near is None)
    if pattern.looks_ahead:
        wrong |= refuse_split(pattern, cache.positions, positions)[:, None]
    return jnp.where(wrong[:, :, None, None], jnp.nan, out), written


def _write(
    cache: KVCache, k: jax.Array, v: jax.Array, positions: jax.Array, judged: jax.Array
) -> KVCache:
    """The cache with k [B, T, K, D], v [B, T, K, Dv] in the slots of `positions` [B, T].

    `judged` [B, T] are the positions by which patterns judge.
    """
    slots = cache.slots(positions)
    if positions.size == 1:
        # A write of one position becomes an update that XLA's CPU compiler repeats for each reader,
        # with a copy of the whole cache for each. One that is dropped keeps it a scatter.
        k, v, judged = (jnp.concatenate([x, x], axis=1) for x in (k, v, judged))
        slots = jnp.concatenate([slots, jnp.full_like(slots, cache.k.shape[2])], axis=1)
    rows = jnp.arange(slots.shape[0])[:, None]
    return dataclasses.replace(
        cache,
        k=cache.k.at[rows, :, slots].set(k.astype(cache.k.dtype), mode="drop"),
        v=cache.v.at[rows, :, slots].set(v.astype(cache.v.dtype), mode="drop"),
        positions=cache.positions.at[rows, slots].set(judged, mode="drop"),
    )


def rollback(cache: Caches, lengths: jax.Array) -> Caches:
    """Forgets the positions from `lengths` on, exactly, if no more than the last chunk goes.

    Args:
      cache: a `KVCache`, or a pytree of them; leading axes, as of layers, are allowed. What else it
        holds stays.
      lengths: int32 [B], positions that each sequence keeps.
    """

    def one(cache: KVCache) -> KVCache:
        if not isinstance(cache, KVCache):
            return cache
        kept = lengths.reshape((1,) * (cache.positions.ndim - 2) + (-1, 1))
        positions = jnp.where(cache.positions < kept, cache.positions, -1)
        return dataclasses.replace(cache, positions=positions)

    return jax.tree.map(one, cache, is_leaf=lambda node: isinstance(node, KVCache))


def resized(cache: KVCache, pattern: Pattern, length: int, chunk: int) -> KVCache:
    """`cache`, made for the same pattern and chunk, with room for texts of `length` positions.

    Positions from `length` on, if it shrinks, must not be needed any more.
    """
    slots = num_slots(pattern, length, chunk)
    near, first = pattern.reach if slots < length else (None, 0)
    # Slot i holds position i in a ring too, as long as none has gone round.
    kept = jnp.where(cache.positions < length, cache.positions, -1)

    more = ((0, 0), (0, max(0, slots - kept.shape[1])))

    def sized(x: jax.Array) -> jax.Array:
        return jnp.pad(x[:, :, :slots], (*more[:1], (0, 0), *more[1:], (0, 0)))

    positions = jnp.pad(kept[:, :slots], more, constant_values=-1)
    return KVCache(sized(cache.k), sized(cache.v), positions, near, first)


def check_decodable(pattern: Pattern, prompt: int, length: int) -> None:
    """Refuses a text of up to `length` positions decoded one by one after `prompt` together.

    Raises:
      ValueError: a query would have to attend to a key that comes in a later chunk.
    """
    for part in in_order(pattern).per_head() if pattern.looks_ahead else ():
        ahead = part & ~Causal()
        for row, column in np.argwhere(block_map(ahead, length, length, BLOCK, BLOCK) != EMPTY):
            q_pos = np.arange(row * BLOCK, min((row + 1) * BLOCK, length))
            k_pos = np.arange(max(column * BLOCK, prompt), min((column + 1) * BLOCK, length))
            if ahead(q_pos[:, None], k_pos[None, :]).any():
                raise ValueError(
                    f"attention {part}: got {prompt} tokens at once, to be continued one by one, "
                    "expected at once all that earlier tokens look ahead to (of a prompt, all but "
                    "the last token are)"
                )


def _check(cache: KVCache, pattern: Pattern, size: int, positions: jax.Array) -> None:
    """Refuses what the cache has no room for."""
    near, first = pattern.reach
    if cache.near is not None and (near is None or near > cache.near or first > cache.first):
        raise ValueError(
            f"cached_attend: got {pattern}, expected a pattern that reaches no more than "
            f"{cache.near} positions back and {cache.first} from the start, as the cache"
        )
    if size > cache.chunk:
        raise ValueError(
            f"cached_attend: got a chunk of {size} positions, expected at most {cache.chunk}, for "
            "which the cache was made"
        )
    known = _known(positions)
    if cache.near is None and known is not None and known.size and known.max() >= cache.chunk:
        raise ValueError(
            f"cached_attend: got position {known.max()}, expected at most {cache.chunk - 1}, the "
            "last that the cache has a slot for"
        )


def refuse_split(pattern: Pattern, held: jax.Array, positions: jax.Array) -> jax.Array:
    """Whether queries that came before may attend to keys of a chunk, which must come with them.

    Args:
      pattern: one that looks ahead.
      held: int32 [B, S], the positions in the cache.
      positions: int32 [B, T], those of the chunk.

    Returns:
      bool [B]; where it is known and true, ValueError is raised instead.
    """
    start = jnp.where(positions >= 0, positions, jnp.iinfo(jnp.int32).max).min(1, keepdims=True)
    earlier = (held >= 0) & (held < start)
    ahead = in_order(pattern)(held[:, :, None], positions[:, None, :])
    split = (ahead & earlier[:, :, None] & (positions >= 0)[:, None, :]).any((1, 2))
    known = _known(split)
    if known is not None and known.any():
        row = np.asarray(positions)[known.argmax()]
        raise ValueError(
            f"cached_attend: got positions from {row[row >= 0].min()} on in a chunk of their own, "
            f"but {pattern} lets earlier ones attend to them; expected all in one chunk"
        )
    return split


def _known(x: jax.Array) -> np.ndarray | None:
    """The values of an array, None while they are traced."""
    try:
        return np.asarray(x)
    except jax.errors.TracerArrayConversionError:
        return None
