"""Heads that differ: a pattern for each query head, computed as one call for each pattern.

out, lse = by_head(compute, q, k, v, rules, (Banded(256), Dense()))
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.attention.algebra import Pattern
from gptjax.attention.rules import Rules

Result = tuple[jax.Array, jax.Array | None]


def by_head(
    compute: Callable[[jax.Array, jax.Array, jax.Array, Rules], Result],
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    rules: Rules,
    cycle: tuple[Pattern, ...],
) -> Result:
    """Attention in which query head h has the pattern `cycle[h % len(cycle)]`.

    Args:
      compute: attention in one pattern, that of its rules, over the heads it is given.
      q: queries [B, T, H, D].
      k: keys [B, S, K, D].
      v: values [B, S, K, D].
      rules: those of the whole call; each part is told the true numbers of its heads, so that
        dropout and score changes are those of an undivided call.
      cycle: patterns, causality included.

    Returns:
      What `compute` returns: [B, T, H, D], and [B, T, H] or None.
    """
    if len(cycle) == 1:
        return compute(q, k, v, dataclasses.replace(rules, pattern=cycle[0]))
    num_heads, made = q.shape[2], []
    for first, pattern in enumerate(cycle[:num_heads]):
        heads = np.arange(first, num_heads, len(cycle))
        owners = _key_heads(heads, num_heads // k.shape[2])
        numbers = jnp.asarray(heads.reshape(len(owners), -1), jnp.int32)
        part = dataclasses.replace(rules, pattern=pattern, heads=numbers)
        made.append(compute(_pick(q, heads), _pick(k, owners), _pick(v, owners), part))
    return jax.tree.map(functools.partial(_interleave, num_heads), *made)


def _key_heads(heads: np.ndarray, groups: int) -> np.ndarray:
    """The key heads for `heads`: each once where equally many share it, else one a query head."""
    owners = heads // groups
    distinct, counts = np.unique(owners, return_counts=True)
    return distinct if (counts == counts[0]).all() else owners


def _pick(x: jax.Array, heads: np.ndarray) -> jax.Array:
    """`x` [B, T, _, D] at some heads: a slice if it can be, with a tenth of a gather's cost."""
    step = heads[1] - heads[0] if len(heads) > 1 else 1
    if step and (np.diff(heads) == step).all():
        return x[:, :, heads[0] : heads[-1] + 1 : step]
    return x[:, :, heads]


def _interleave(num_heads: int, *parts: jax.Array) -> jax.Array:
    """[B, T, H, ...] of parts [B, T, heads, ...] that take turns over the heads."""
    most, rest = parts[0].shape[2], [(0, 0)] * (parts[0].ndim - 3)
    parts = tuple(jnp.pad(x, [(0, 0), (0, 0), (0, most - x.shape[2]), *rest]) for x in parts)
    whole = jnp.stack(parts, axis=3)
    return whole.reshape(*whole.shape[:2], -1, *whole.shape[4:])[:, :, :num_heads]
