"""Implementation of attention: a computation, and a check that refuses calls it cannot compute.

IMPLEMENTATIONS.register("reference")(Implementation(reference))
"""

import dataclasses
from collections.abc import Callable

import jax

from gptjax.attention.algebra import Pattern
from gptjax.attention.rules import Rules

Compute = Callable[[jax.Array, jax.Array, jax.Array, Rules], tuple[jax.Array, jax.Array | None]]


@dataclasses.dataclass(frozen=True)
class Call:
    """Static description of an attention call: all that is known before its data.

    Attributes:
      pattern: the predicate, causality included; the same in all heads.
      platform: of the default device: "cpu", "gpu" or "tpu".
      capability: compute capability of an NVIDIA GPU, such as "9.0".
      devices: how many the compiler may divide the call over, as far as is known; 1 inside a
        `shard_map`, and where `attend` is told the sharding.
      num_queries, num_keys: lengths in positions.
      head_dim, value_dim: sizes of a query or key, and of a value.
      dtype: of queries, keys and values.
      positions, segments, score, dropout: whether the call gives any.
      restarts: whether positions restart with each segment, to which the pattern is not blind.
      paired_segments: whether queries and keys have segment ids of their own.
      lse: whether the log-sum-exp is asked for.
    """

    pattern: Pattern
    platform: str
    capability: str
    devices: int
    num_queries: int
    num_keys: int
    head_dim: int
    value_dim: int
    dtype: str
    positions: bool = False
    segments: bool = False
    restarts: bool = False
    paired_segments: bool = False
    score: bool = False
    dropout: bool = False
    lse: bool = False

    def __str__(self) -> str:
        lengths = f"{self.num_queries} queries x {self.num_keys} keys"
        return f"{self.pattern}, {lengths}, {self.dtype}, on {self.platform}"


def refuses_nothing(call: Call) -> None:
    """Refuses no call."""
    del call


@dataclasses.dataclass(frozen=True)
class Implementation:
    """One way to compute attention.

    Attributes:
      compute: (q [B, K, G, T, D], k [B, K, S, D], v [B, K, S, D], rules) -> the output
        [B, K, G, T, D] in the dtype of v, and the float32 log-sum-exp [B, K, G, T] of the
        scores, in nats; None for the latter if it refuses calls that ask for it.
      refuses: in a few words why it cannot compute a call, or None if it can.
      opaque: whether it is a kernel, which the compiler cannot divide over a mesh.
    """

    compute: Compute
    refuses: Callable[[Call], str | None] = refuses_nothing
    opaque: bool = False
