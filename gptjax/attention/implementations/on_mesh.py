"""A kernel over a mesh: each device computes its share of the batch and of the heads.

The compiler divides plain JAX by itself, but not a kernel, whose inside it does not know.

    compute = on_mesh(compute, NamedSharding(mesh, PartitionSpec("data", None, "model")))
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from gptjax.attention.implementations.implementation import Compute
from gptjax.attention.rules import Rules


def on_mesh(compute: Compute, sharding: NamedSharding) -> Compute:
    """`compute` of an implementation, run on each device's share of the arrays.

    Args:
      compute: without dropout and score change, which would have to know the share.
      sharding: how queries [B, T, H, D] are divided over a mesh: along B, H or both.

    Returns:
      The same function of whole arrays. Heads that the mesh does not divide stay whole.

    Raises:
      ValueError: the sharding divides sequences or heads themselves.
    """
    over_batch, over_sequence, over_heads, over_head = (*sharding.spec, *[None] * 4)[:4]
    if over_sequence or over_head:
        raise ValueError(
            f"attend: got sharding {sharding.spec} of queries [B, T, H, D], expected T and D whole"
        )
    axes = over_heads if isinstance(over_heads, tuple) else (over_heads,)
    shares = math.prod(sharding.mesh.shape[axis] for axis in axes if axis is not None)

    def compute_shares(
        q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules
    ) -> tuple[jax.Array, jax.Array | None]:
        assert rules.seed is None and rules.score is None, "refused before"
        batch, key_heads, groups, *whole = q.shape
        divides = key_heads * groups % shares == 0
        if divides and key_heads % shares:
            q = q.reshape(batch, key_heads * groups, 1, *whole)
            k, v = (jnp.repeat(x, groups, axis=1) for x in (k, v))
        heads = PartitionSpec(over_batch, over_heads if divides else None)
        rules = dataclasses.replace(rules, heads=None)
        rows = jax.tree.map(lambda x: PartitionSpec(over_batch if len(x) > 1 else None), rules)
        run = jax.shard_map(
            compute,
            mesh=sharding.mesh,
            in_specs=(heads, heads, heads, rows),
            out_specs=heads,
            check_vma=False,
        )
        made = run(q, k, v, rules)
        return jax.tree.map(lambda x: x.reshape(batch, key_heads, groups, *x.shape[3:]), made)

    return compute_shares
