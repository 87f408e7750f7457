"""Positional encodings: sinusoids added to embeddings, or rotations of queries and keys.

Sinusoids: Attention Is All You Need, arXiv 1706.03762, section 3.5. Rotations: RoFormer, arXiv
2104.09864, section 3.2.2; for contexts longer than a model was trained on, position interpolation,
arXiv 2306.15595, equation 4, and the NTK-aware base and YaRN, arXiv 2309.00071, sections 3.1 to
3.4. A learned table is a parameter of the model; for a longer context it is interpolated.

A base that grows with the text ("dynamic" NTK) is not offered: keys in the cache were turned under
the base of an earlier, shorter text, so that decoding would not equal a full forward pass.

Entry i of a head is paired with entry i + D/2, as in GPT-NeoX and Llama. (RoFormer pairs
neighbours: the same but for the order of a kernel's columns.)

    q, k = (rotate(x, rotation(config, positions)) for x in (q, k))
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.config import ModelConfig

Rotation = tuple[jax.Array, jax.Array]

# YaRN, section 3.2: pairs that turn more often than FAST in the original context keep their
# frequency, those that turn less often than SLOW are interpolated.
FAST, SLOW = 32, 1


def sinusoidal(positions: jax.Array, d_model: int) -> jax.Array:
    """Sines and cosines of positions, in turn.

    Differs from the paper in `GPT`: the embeddings that they are added to are not multiplied by
    sqrt(E). Those of `EncoderDecoder` are.

    Args:
      positions: integers [B, T].
      d_model: size E of an embedding, even.

    Returns:
      float32 [B, T, E].
    """
    frequencies = _frequencies(10000.0, d_model)
    angles = positions[..., None].astype(jnp.float32) * frequencies[None, None]
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*positions.shape, -1)


def rotation(config: ModelConfig, positions: jax.Array) -> Rotation:
    """Cosines and sines by which `rotate` turns queries and keys.

    Args:
      config: a resolved `ModelConfig`.
      positions: integers [B, T].

    Returns:
      Cosines and sines of the angles, float32 [B, T, 1, D/2]. Under YaRN both carry the factor
      that stands for its attention temperature.
    """
    frequencies, factor = rotary_frequencies(config)
    angles = positions[..., None, None].astype(jnp.float32) * frequencies[None, None, None]
    return jnp.cos(angles) * factor, jnp.sin(angles) * factor


def rotate(x: jax.Array, by: Rotation) -> jax.Array:
    """Turns each pair of entries of heads [B, T, H, D]; computed in float32."""
    cos, sin = by
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)
    return turned.astype(x.dtype)


def rotary_frequencies(config: ModelConfig) -> tuple[np.ndarray, float]:
    """The angle that a position adds to each pair of entries, and a factor on queries and keys.

    Differs from the YaRN paper as its authors' code does: between the pairs that turn FAST and SLOW
    times, rounded outwards, the ramp is linear in the pair's index, not in its number of turns.

    Args:
      config: a resolved `ModelConfig`.

    Returns:
      float32 [D/2], in radians, and the factor, 1 but for YaRN.
    """
    size, base, scale = config.d_head, config.rotary_base, config.rotary_factor
    assert size is not None, "resolve the config first"
    frequencies = _frequencies(base, size)
    if config.rotary_scaling == "none":
        return frequencies, 1.0
    if config.rotary_scaling == "ntk":
        return _frequencies(base * scale ** (size / (size - 2)), size), 1.0
    interpolated = frequencies / np.float32(scale)
    if config.rotary_scaling == "interpolation":
        return interpolated, 1.0
    context = config.rotary_original_context
    assert context is not None, "resolve the config first"

    def pair(turns: float) -> float:
        """The index, a fraction, of the pair that turns so often in the original context."""
        return size / 2 * math.log(context / (2 * math.pi * turns), base)

    low = max(math.floor(pair(FAST)), 0)
    high = max(min(math.ceil(pair(SLOW)), size - 1), low + 1e-3)
    ramp = np.clip((np.arange(size // 2) - low) / (high - low), 0, 1).astype(np.float32)
    return interpolated * ramp + frequencies * (1 - ramp), 0.1 * math.log(scale) + 1


@functools.partial(jax.jit, static_argnums=1)
def stretched(table: jax.Array, rows: int) -> jax.Array:
    """A learned table [n, E] for `rows` >= n positions: position i reads n i / rows of the old one.

    Between two rows it is linear, past the last one it is the last: what interpolation does to
    rotary positions (arXiv 2306.15595, section 2.3), done to a table.
    """
    size = table.shape[0]
    at = jnp.minimum(jnp.arange(rows, dtype=jnp.float32) * (size / rows), size - 1)
    below = at.astype(jnp.int32)
    share = (at - below.astype(jnp.float32))[:, None].astype(table.dtype)
    above = jnp.minimum(below + 1, size - 1)
    return table[below] * (1 - share) + table[above] * share


def _frequencies(base: float, size: int) -> np.ndarray:
    """base^(-2i / size) for each pair i of `size` entries, float32."""
    return (base ** -(np.arange(0, size, 2) / size)).astype(np.float32)
