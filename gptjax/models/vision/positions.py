"""Positions of patches: learned tables that grow to other sizes, and waves of rows and columns.

ViT (arXiv 2010.11929, section 3.2) interpolates its learned positions, by their place in the image,
when images are larger than those that it has learned from.

    params, config = at_image_size(params, config, 384)
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.vision_config import VisionConfig

_CUBIC = -0.75  # parameter of the cubic, as PyTorch's and OpenCV's bicubic have it
_TEMPERATURE = 10_000.0


def at_image_size(params: Any, config: VisionConfig, image_size: int) -> tuple[Any, VisionConfig]:
    """A `ViT` for images of another size, with the same parameters but for its positions.

    Args:
      params: of a `ViT`.
      config: of that one.
      image_size: in pixels, a multiple of `config.patch_size`.

    Returns:
      The parameters, and the resolved configuration.

    Raises:
      ValueError: patches do not fill such an image.
    """
    old = config.resolved()
    new = dataclasses.replace(old, image_size=image_size, context_length=None).resolved()
    if old.positions != "learned" or new.grid == old.grid:
        return params, new
    table = resized_positions(params["position_embedding"], old.grid, new.grid)
    return params | {"position_embedding": table}, new


@functools.partial(jax.jit, static_argnums=(1, 2))
def resized_positions(table: jax.Array, old: int, new: int) -> jax.Array:
    """Interpolates a table of learned positions, bicubically, to another grid of patches.

    Args:
      table: [old * old, E] or, with a class token in front, [old * old + 1, E]; float32.
      old: rows and columns of its grid.
      new: of the grid that is wanted.

    Returns:
      [new * new, E], or [new * new + 1, E] with the first row as it was.

    Source: `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`, which ViT and
    CLIP models are commonly resized with. A table that shrinks is not smoothed first, as there.
    """
    extra = len(table) - old * old
    if extra not in (0, 1):
        raise ValueError(
            f"positions: got a table of {len(table)} rows, expected {old * old} or {old * old + 1}"
        )
    weights = jnp.asarray(_bicubic(old, new))
    grid = table[extra:].reshape(old, old, -1)
    resized = jnp.einsum("yr,xc,rce->yxe", weights, weights, grid, precision="highest")
    return jnp.concatenate([table[:extra], resized.reshape(new * new, -1).astype(table.dtype)])


@functools.cache
def _bicubic(old: int, new: int) -> np.ndarray:
    """What each of `new` points along an axis takes of each of `old` ones, float32 [new, old].

    Centres of pixels stand at halves; beyond the first and the last one, these are repeated.
    """
    at = (np.arange(new) + 0.5) * old / new - 0.5
    before = np.floor(at).astype(int)
    weights = np.zeros((new, old))
    for offset in range(-1, 3):
        distance = np.abs(at - (before + offset))
        place = np.clip(before + offset, 0, old - 1)
        np.add.at(weights, (np.arange(new), place), _cubic(distance))
    return weights.astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel (1981, equation 15), of distances 0 to 2."""
    a, d = _CUBIC, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


@functools.cache
def sinusoidal_2d(grid: int, width: int) -> np.ndarray:
    """Waves of the columns and rows of patches, float32 [grid * grid, width].

    Source: google-research/big_vision, models/vit.py, `posemb_sincos_2d`: in each row the sines of
    the column, its cosines, the sines of the row and its cosines, of width / 4 frequencies.
    """
    rows, columns = np.mgrid[:grid, :grid].reshape(2, -1, 1)
    quarter = width // 4
    frequencies = _TEMPERATURE ** -(np.arange(quarter) / max(quarter - 1, 1))
    x, y = columns * frequencies, rows * frequencies
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], 1).astype(np.float32)
