"""Memory on each device: of arrays by their shapes, of a compiled program as XLA plans it.

keep_freed_memory()   # first of all, in a process that trains on a CPU
bytes_of_each_device(placed(shapes, mesh))
planned_bytes(jax.jit(f).lower(x).compile())
"""

import contextlib
import ctypes
import math
from typing import Any

import jax

# Parameters of glibc's `mallopt` (malloc.h).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Has this process keep what it frees, so that a step finds the memory of the one before.

    XLA's CPU client allocates the temporaries of a program at every call, a gigabyte or more. By
    default glibc takes so much from the kernel, page by page, and gives it back at the end. Must
    come before JAX starts its devices, since their threads would have heaps of their own; does
    nothing where the C library is another. The process stays as large as it ever was.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1)):
            mallopt(parameter, value)


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
