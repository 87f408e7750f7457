"""Memory on each device: of arrays by their shapes, of a compiled program as XLA plans it.

bytes_of_each_device(placed(shapes, mesh))
planned_bytes(jax.jit(f).lower(x).compile())
"""

import math
from typing import Any

import jax


def planned_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes on each device: arguments, results and temporaries, minus aliased results."""
    planned = compiled.memory_analysis()
    assert planned is not None
    return (
        planned.argument_size_in_bytes
        + planned.output_size_in_bytes
        + planned.temp_size_in_bytes
        - planned.alias_size_in_bytes
    )


def bytes_of_each_device(target: Any) -> int:
    """Bytes on the fullest device of a tree of `jax.ShapeDtypeStruct`s with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(target)
    )
