"""Attention in one kernel of the device: cuDNN on an NVIDIA GPU, splash attention on a TPU.

Each computes what its kernel can express and refuses the rest by name. cuDNN is reached through
`jax.nn.dot_product_attention`: dense and causally banded patterns, in 16 bits. Splash attention
takes any pattern at default positions, and segment ids with patterns that leave no row empty.

    out, _ = fused(q, k, v, rules)

Source: both kernels are of the kind of FlashAttention-2, arXiv 2307.08691.
"""

import functools
from typing import Any

import jax
import numpy as np

from gptjax.attention.algebra import UNKNOWN, And, Causal, Pattern
from gptjax.attention.device import current
from gptjax.attention.implementations.implementation import Call, Implementation
from gptjax.attention.implementations.splash import LARGEST_BLOCK, splash
from gptjax.attention.patterns import Banded, Dense
from gptjax.attention.rules import Rules

# Splash attention keeps its block map in the scalar memory of a TPU core, 1 MiB: compiled for a
# v5e, 262,144 positions fit and 300,000 do not.
LONGEST_SPLASH = 262_144
# Of a pattern without a closed form the map looks at every pair: these take 5 s.
MOST_PAIRS_LOOKED_AT = 32_768**2


def fused(q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules) -> tuple[jax.Array, None]:
    """Attention by the device's own kernel; arguments as `reference.reference`."""
    kernel = splash if current().platform == "tpu" else cudnn
    return kernel(q, k, v, rules), None


def cudnn(q: jax.Array, k: jax.Array, v: jax.Array, rules: Rules) -> jax.Array:
    """The output of attention; arguments as `reference.reference`."""
    mask = cudnn_mask(rules.pattern)
    assert mask is not None, "refused before"
    batch, key_heads, groups, num_queries, head_dim = q.shape
    out = jax.nn.dot_product_attention(
        q.reshape(batch, key_heads * groups, num_queries, head_dim).transpose(0, 2, 1, 3),
        k.transpose(0, 2, 1, 3),
        v.transpose(0, 2, 1, 3),
        scale=rules.scale,
        implementation="cudnn",
        **mask,
    )
    return out.transpose(0, 2, 1, 3).reshape(q.shape)


def cudnn_mask(pattern: Pattern) -> dict[str, Any] | None:
    """Keywords of `jax.nn.dot_product_attention` for a pattern; None if cuDNN has no such mask."""
    match pattern:
        case Dense():
            return {}
        case And(Dense(), Causal()):
            return {"is_causal": True}
        case And(Banded(window=window), Causal()):
            return {"is_causal": True, "local_window_size": (window - 1, 0)}
    return None


def refuses(call: Call) -> str | None:
    """Reason why the kernel of `call.platform` cannot compute the call; None if it can."""
    if call.platform not in ("gpu", "tpu"):
        return f"there is no kernel for {call.platform}"
    if call.positions:
        return "its kernels know no explicit positions"
    if call.restarts:
        return f"its kernels know no positions within segments, which {call.pattern} asks for"
    if call.score:
        return "its kernels know no score change"
    if call.dropout:
        return "its kernels have no dropout"
    if call.lse:
        return "the log-sum-exp of its kernels has no gradient"
    return _cudnn_refuses(call) if call.platform == "gpu" else _splash_refuses(call)


def _cudnn_refuses(call: Call) -> str | None:
    capability = float(call.capability) if call.capability[:1].isdigit() else 0.0
    largest_head = 256 if capability >= 9 else 128
    if capability < 8:
        return f"cuDNN needs an NVIDIA GPU of compute capability 8.0, got {call.capability!r}"
    if call.dtype not in ("bfloat16", "float16"):
        return f"cuDNN takes bfloat16 and float16, got {call.dtype}"
    if cudnn_mask(call.pattern) is None:
        return f"cuDNN masks dense and causally banded patterns, got {call.pattern}"
    if call.segments:
        return "cuDNN masks no segment ids through JAX"
    if call.num_queries != call.num_keys and cudnn_mask(call.pattern):
        return f"cuDNN masks equal lengths, got {call.num_queries} and {call.num_keys}"
    if call.head_dim != call.value_dim or call.head_dim % 8 or call.head_dim > largest_head:
        return (
            f"cuDNN takes heads of one size, a multiple of 8 up to {largest_head} on this GPU, got "
            f"{call.head_dim} and values of {call.value_dim}"
        )
    return None


def _splash_refuses(call: Call) -> str | None:
    if call.devices > 1:
        return f"among {call.devices} devices splash attention needs the sharding of q"
    if call.dtype not in ("bfloat16", "float32"):
        return f"splash attention takes bfloat16 and float32, got {call.dtype}"
    length = max(call.num_queries, call.num_keys)
    if length > LONGEST_SPLASH:
        return f"splash attention takes at most {LONGEST_SPLASH} positions, got {length}"
    unknown = _pairs_looked_at(call.pattern, call.num_queries, call.num_keys)
    if unknown > MOST_PAIRS_LOOKED_AT:
        return f"the block map of {call.pattern} would look at {unknown:.1e} pairs one by one"
    # A query that may attend to itself has a key in its segment, whatever the segments are.
    positions = np.arange(call.num_queries)
    if call.segments and not np.all(call.pattern(positions, positions)):
        return f"with segment ids a row of {call.pattern} may be empty, which splash cannot tell"
    if call.paired_segments or (call.segments and call.num_queries != call.num_keys):
        return "with segment ids of their own, queries may have no key, which splash cannot tell"
    return None


@functools.lru_cache(maxsize=64)
def _pairs_looked_at(pattern: Pattern, num_queries: int, num_keys: int) -> int:
    """The pairs in blocks whose kind has no closed form; 0 where all pairs would be few enough."""
    if num_queries * num_keys <= MOST_PAIRS_LOOKED_AT:
        return 0
    q_low, k_low = (np.arange(0, n, LARGEST_BLOCK) for n in (num_queries, num_keys))
    last = LARGEST_BLOCK - 1
    kinds = pattern.block_kinds(
        q_low[:, None], q_low[:, None] + last, k_low[None], k_low[None] + last
    )
    unknown = np.broadcast_to(kinds == UNKNOWN, (len(q_low), len(k_low)))
    return int(np.count_nonzero(unknown)) * LARGEST_BLOCK**2


FUSED = Implementation(fused, refuses, opaque=True)
