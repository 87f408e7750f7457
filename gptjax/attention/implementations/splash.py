"""Splash attention, the block-sparse TPU kernel that comes with JAX, for any static pattern.

The block map says which blocks the kernel's grid visits, and the pattern itself is the function
that masks them inside the kernel: no mask is ever built or stored. Rows that may attend to nothing
are set to zero here. `interpret=True` runs the kernel's program on a CPU.

    out = splash(q, k, v, rules)

Source: `jax.experimental.pallas.ops.tpu.splash_attention`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.attention.algebra import EMPTY, Pattern
from gptjax.attention.blocks import block_map
from gptjax.attention.rules import Rules

# Positions in a block: whole lanes of a TPU, and no more than fits the fast memory of a v5e with
# heads of 512 in float32.
LANES, LARGEST_BLOCK = 128, 512


def splash(
    q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules, interpret: bool = False
) -> jax.Array:
    """The output of attention; arguments as `reference.reference`."""
    batch, _, _, num_queries, head_dim = q.shape
    num_keys = k.shape[2]
    q_block, k_block = _block(num_queries), _block(num_keys)
    more_queries, more_keys = -num_queries % q_block, -num_keys % k_block
    padded = rules.padded(num_keys, more_queries, more_keys)
    scaled = (q.astype(jnp.float32) * rules.scale).astype(q.dtype)
    heads = scaled.reshape(batch, -1, num_queries, head_dim)
    heads = jnp.pad(heads, [(0, 0), (0, 0), (0, more_queries), (0, 0)])
    k, v = (jnp.pad(x, [(0, 0), (0, 0), (0, more_keys), (0, 0)]) for x in (k, v))
    segments = (padded.q_segments, padded.k_segments)
    segments = (jnp.broadcast_to(x, (batch, x.shape[1])) for x in segments if x is not None)

    kernel = _kernel(padded.pattern, heads.shape[2], k.shape[2], q_block, k_block, interpret)
    out = jax.vmap(kernel)(heads, k, v, *segments)[:, :, :num_queries]
    out = out.reshape(*q.shape[:4], -1)
    some = _rows_with_keys(rules.pattern, num_queries, num_keys)[None, None, None, :, None]
    if rules.q_segments is not None:
        return jnp.where(some & (rules.q_segments >= 0)[:, None, None, :, None], out, 0)
    return out if some.all() else jnp.where(some, out, 0)


def _block(length: int) -> int:
    return min(LARGEST_BLOCK, length + -length % LANES)


def _rows_with_keys(pattern: Pattern, num_queries: int, num_keys: int) -> np.ndarray:
    """Mask of the queries that may attend to some key, bool [num_queries]."""
    rows = np.arange(num_queries)
    found = np.broadcast_to(pattern(rows, rows), rows.shape) & (rows < num_keys)
    for start in range(0, num_keys, LANES):
        left = np.flatnonzero(~found)
        keys = np.arange(start, min(start + LANES, num_keys))
        allowed = pattern(left[:, None], keys[None, :])
        found[left] = np.broadcast_to(allowed, (len(left), len(keys))).any(1)
    return found


def _kernel(
    pattern: Pattern,
    num_queries: int,
    num_keys: int,
    q_block: int,
    k_block: int,
    interpret: bool,
) -> Any:
    """Maps scaled q [H, T, D], k, v [K, S, D] and two arrays of segment ids or none to [H, T, D].

    Rows without keys come out as means of values.
    """
    # Imported here, where a TPU has use for it: that takes half a second.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as module
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo

    def info(order: np.ndarray) -> Any:
        return MaskInfo(
            data_next=jnp.asarray(np.maximum(order, 0)[None]),
            mask_next=None,
            block_mask=jnp.asarray((order >= 0)[None], jnp.int8),
            partial_mask_blocks=None,
            q_sequence=np.arange(num_queries, dtype=np.int32),
        )

    by_query, by_key = map(info, visits(pattern, num_queries, num_keys, q_block, k_block))
    kernel = module.SplashAttentionKernel(
        by_query,
        by_query,
        by_key,
        is_mqa=False,
        save_residuals=False,
        block_sizes=module.BlockSizes(
            *(q_block, k_block, k_block), *(q_block, k_block, k_block), *(q_block, k_block)
        ),
        mask_function=pattern,
        mask_value=module.DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=None,
        residual_checkpoint_name=None,
        interpret=interpret,
    )

    def attend(q: Any, k: Any, v: Any, *segments: Any) -> Any:
        return kernel(q, k, v, module.SegmentIds(*segments) if segments else None)

    return attend


@functools.lru_cache(maxsize=64)
def visits(
    pattern: Pattern, num_queries: int, num_keys: int, q_block: int, k_block: int
) -> tuple[np.ndarray, np.ndarray]:
    """The blocks to visit, in order, -1 behind the last.

    Returns:
      int16 [query blocks, n], the key blocks of each query block, one at least: a row of none
      would be 0/0; and int16 [m, key blocks], the query blocks of each key block.
    """
    visited = block_map(pattern, num_queries, num_keys, q_block, k_block) != EMPTY
    visited[:, 0] |= ~visited.any(1)

    def along(axis: int) -> np.ndarray:
        width = np.arange(visited.sum(axis).max())
        order = np.argsort(~visited, axis, kind="stable").take(width, axis)
        return np.where(np.take_along_axis(visited, order, axis), order, -1).astype(np.int16)

    return along(1), along(0)
