"""Splash attention, the block-sparse TPU kernel that comes with JAX, for any static pattern.

The block map says which blocks the kernel's grid visits, and the pattern itself is the function
that masks them inside the kernel: no mask is ever built or stored. Rows that may attend to nothing
are set to zero here. `interpret=True` runs the kernel's program on a CPU.

    out = splash(q, k, v, rules)

Source: `jax.experimental.pallas.ops.tpu.splash_attention`. Its backward pass is called directly,
a private function there: only so can a mesh divide the forward and the backward kernel.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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
    num_queries, num_keys = q.shape[3], k.shape[2]
    q_block, k_block = _block(num_queries), _block(num_keys)
    more_queries, more_keys = -num_queries % q_block, -num_keys % k_block
    padded = rules.padded(num_keys, more_queries, more_keys)
    kernel = _Kernel(padded.pattern, q_block, k_block, interpret)
    q = (q.astype(jnp.float32) * rules.scale).astype(q.dtype)
    q = jnp.pad(q, [(0, 0)] * 3 + [(0, more_queries), (0, 0)])
    k, v = (jnp.pad(x, [(0, 0)] * 2 + [(0, more_keys), (0, 0)]) for x in (k, v))
    segments = (padded.q_segments, padded.k_segments)
    segments = (jnp.broadcast_to(x, (len(q), x.shape[1])) for x in segments if x is not None)
    out: Any = _attention(kernel, q, k, v, *segments)
    out = out[..., :num_queries, :]
    some = _rows_with_keys(rules.pattern, num_queries, num_keys)[None, None, None, :, None]
    if rules.q_segments is not None:
        return jnp.where(some & (rules.q_segments >= 0)[:, None, None, :, None], out, 0)
    return out if some.all() else jnp.where(some, out, 0)


def _block(length: int) -> int:
    return min(LARGEST_BLOCK, length + -length % LANES)


def _rows_with_keys(pattern: Pattern, num_queries: int, num_keys: int) -> np.ndarray:
    """Which queries may attend to some key: bool [num_queries]."""
    rows = np.arange(num_queries)
    found = np.broadcast_to(pattern(rows, rows), rows.shape) & (rows < num_keys)
    for start in range(0, num_keys, LANES):
        left = np.flatnonzero(~found)
        keys = np.arange(start, min(start + LANES, num_keys))
        allowed = pattern(left[:, None], keys[None, :])
        found[left] = np.broadcast_to(allowed, (len(left), len(keys))).any(1)
    return found


@dataclasses.dataclass(frozen=True)
class _Kernel:
    """What a kernel is compiled for, beside the shapes of its arrays.

    Arrays are those of `_attention`; `visits` are `_visits` of the queries, of the keys.
    """

    pattern: Pattern
    q_block: int
    k_block: int
    interpret: bool

    def forward(
        self,
        with_lse: bool,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        visits: jax.Array,
        *segments: jax.Array,
    ) -> list[jax.Array]:
        """The output and, if asked for, the log-sum-exp [B, K, G, T]."""
        module = _module()
        info = _mask_info(visits, q.shape[3])
        kernel = module.SplashAttentionKernel(
            info, None, None, save_residuals=with_lse, **self._options()
        )

        def one(q: Any, k: Any, v: Any, *segments: Any) -> Any:
            return kernel(q, k, v, module.SegmentIds(*segments) if segments else None)

        made = jax.tree.leaves(jax.vmap(one)(_heads(q), k, v, *segments))
        return [x.reshape(*q.shape[:3], *x.shape[2:]) for x in made]

    def backward(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        out: jax.Array,
        lse: jax.Array,
        out_bar: jax.Array,
        q_visits: jax.Array,
        k_visits: jax.Array,
        *segments: jax.Array,
    ) -> list[jax.Array]:
        """The gradients of q, k and v."""
        module = _module()
        infos = _mask_info(q_visits, q.shape[3]), _mask_info(k_visits, q.shape[3])

        def one(q: Any, k: Any, v: Any, out: Any, lse: Any, out_bar: Any, *segments: Any) -> Any:
            ids = module.SegmentIds(*segments) if segments else None
            residuals = (q, k, v, ids, None, out, lse, *infos)
            bars = module._splash_attention_bwd(
                res=residuals, do=out_bar, save_residuals=False, **self._options()
            )
            return bars[3:6]

        arrays = (_heads(q), k, v, _heads(out), _heads(lse), _heads(out_bar))
        q_bar, k_bar, v_bar = jax.vmap(one)(*arrays, *segments)
        return [q_bar.reshape(q.shape), k_bar, v_bar]

    def _options(self) -> dict[str, Any]:
        module = _module()
        q, k = self.q_block, self.k_block
        return {
            "is_mqa": False,
            "block_sizes": module.BlockSizes(q, k, k, q, k, k, q, k),
            "mask_function": self.pattern,
            "mask_value": module.DEFAULT_MASK_VALUE,
            "attn_logits_soft_cap": None,
            "residual_checkpoint_name": None,
            "interpret": self.interpret,
        }


def _module() -> Any:
    """The kernel's module, imported at the first use: that takes half a second."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel

    return splash_attention_kernel


def _heads(x: jax.Array) -> jax.Array:
    """[B, K, G, ...] -> [B, H, ...]; the kernel too gives each key head a run of queries."""
    return x.reshape(x.shape[0], -1, *x.shape[3:])


def _mask_info(visits: jax.Array, num_queries: int) -> Any:
    """What the kernel reads of a mask that is a function: the blocks to visit, the positions."""
    return _module().mask_info_lib.MaskInfo(
        data_next=jnp.maximum(visits, 0)[None],
        mask_next=None,
        block_mask=(visits >= 0).astype(jnp.int8)[None],
        partial_mask_blocks=None,
        q_sequence=jnp.arange(num_queries, dtype=jnp.int32),
    )


@functools.lru_cache(maxsize=64)
def _visits(kernel: _Kernel, num_queries: int, num_keys: int) -> tuple[np.ndarray, np.ndarray]:
    """The blocks to visit, in order, -1 behind the last.

    Returns:
        int16 [query blocks, n], the key blocks of each query block, one at least: a row of none
        would be 0/0; and int16 [m, key blocks], the query blocks of each key block.
    """
    kinds = block_map(kernel.pattern, num_queries, num_keys, kernel.q_block, kernel.k_block)
    visited = kinds != EMPTY
    visited[:, 0] |= ~visited.any(1)

    def along(axis: int) -> np.ndarray:
        width = np.arange(visited.sum(axis).max())
        order = np.argsort(~visited, axis, kind="stable").take(width, axis)
        return np.where(np.take_along_axis(visited, order, axis), order, -1).astype(np.int16)

    return along(1), along(0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(
    kernel: _Kernel, q: jax.Array, k: jax.Array, v: jax.Array, *segments: jax.Array
) -> jax.Array:
    """Output [B, K, G, T, D] for whole blocks; q is scaled, segments are [B, T] and [B, S]."""
    return _run_forward(kernel, False, q, k, v, *segments)[0]


def _run_forward(
    kernel: _Kernel, with_lse: bool, q: Any, k: Any, v: Any, *segments: Any
) -> Sequence[jax.Array]:
    visits, _ = _visits(kernel, q.shape[3], k.shape[2])
    arguments = "b k g t d, b k s d, b k s e, x y" + ", b t, b s" * bool(segments)
    results = "b k g t e" + ", b k g t" * with_lse
    compute = functools.partial(kernel.forward, with_lse)
    return _divided(compute, f"{arguments} -> {results}")(q, k, v, visits, *segments)


def _forward(kernel: _Kernel, *arrays: Any) -> Any:
    out, lse = _run_forward(kernel, True, *arrays)
    return out, (arrays, out, lse)


def _backward(kernel: _Kernel, residuals: Any, out_bar: Any) -> Any:
    (q, k, v, *segments), out, lse = residuals
    visits = _visits(kernel, q.shape[3], k.shape[2])
    arguments = "b k g t d, b k s d, b k s e, b k g t e, b k g t, b k g t e, x y, w z"
    arguments += ", b t, b s" * bool(segments)
    run = _divided(kernel.backward, f"{arguments} -> b k g t d, b k s d, b k s e")
    return *run(q, k, v, out, lse, out_bar, *visits, *segments), *[None] * len(segments)


_attention.defvjp(_forward, _backward)


def _divided(compute: Callable[..., Sequence[jax.Array]], rule: str) -> Callable[..., Any]:
    """`compute`, divided by a mesh along batch and heads, and by vmap along the batch.

    A kernel is opaque to the compiler, which by itself could do neither. Axes of the mesh divide
    whole key heads or the groups of queries, not both.

    Args:
        compute: maps arrays to a list of arrays.
        rule: the axes of arguments and results, "b k g t, x y -> b k". Only b, k and g are
            divided, as those of the first argument are; results without g are summed over it.
    """
    arguments, results = ([x.split() for x in side.split(",")] for side in rule.split("->"))

    def partition(mesh: Mesh, operands: Any, _: Any) -> Any:
        over = dict(zip("bkg", operands[0].sharding.spec, strict=False))

        def place(axes: list[str]) -> NamedSharding:
            return NamedSharding(mesh, PartitionSpec(*map(over.get, axes)))

        def local(*arrays: jax.Array) -> Sequence[jax.Array]:
            made = compute(*arrays)
            if over["g"] is None:
                return made
            pairs = zip(made, results, strict=True)
            return [x if "g" in axes else jax.lax.psum(x, over["g"]) for x, axes in pairs]

        return mesh, local, [place(axes) for axes in results], tuple(map(place, arguments))

    names = dict.fromkeys(axis for axes in arguments for axis in axes)
    whole = tuple(axis for axis in names if axis not in "bkg")
    partitioned = custom_partitioning(compute)
    partitioned.def_partition(partition, sharding_rule=rule, need_replication_factors=whole)

    @custom_vmap
    def divided(*arrays: jax.Array) -> Sequence[jax.Array]:
        return partitioned(*arrays)

    @divided.def_vmap
    def _(size: int, batched: Sequence[bool], *arrays: jax.Array) -> Any:
        folded = []
        for x, mapped, axes in zip(arrays, batched, arguments, strict=True):
            if axes[0] == "b":
                x = x if mapped else jnp.broadcast_to(x, (size, *x.shape))
                x = x.reshape(-1, *x.shape[2:])
            folded.append(x)
        made = divided(*folded)
        return [x.reshape(size, -1, *x.shape[1:]) for x in made], [True] * len(made)

    return divided
