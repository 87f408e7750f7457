"""Pixels of an image as numbers, and as a row of embedded patches.

ViT (Dosovitskiy et al. 2020, arXiv 2010.11929, section 3.1): patches, flattened, and a linear map,
which is a convolution whose stride is its size.

    x = PatchEmbedding(config).apply({"params": params}, pixel_values(config, images))
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gptjax.models.parameter_shapes import parameter
from gptjax.vision_config import VisionConfig

# Means and standard deviations of red, green and blue: each channel of 0 to 1 is normalised by
# them. "half" is that of ViT's released code, "clip" that of openai/CLIP, clip.py.
PIXEL_RANGES = {
    "half": ((0.5,) * 3, (0.5,) * 3),
    "clip": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
}


def pixel_values(config: VisionConfig, images: jax.Array) -> jax.Array:
    """Pixels as an encoder reads them.

    Args:
      config: its `pixel_range` says how.
      images: [B, H, W, C] uint8, 0 to 255; or float32, which are returned as they are.

    Returns:
      [B, H, W, C] float32.
    """
    if images.dtype != jnp.uint8:
        return images
    mean, deviation = (
        np.asarray(values[: config.num_channels], np.float32)[None, None, None]
        for values in PIXEL_RANGES[config.pixel_range]
    )
    return (images.astype(jnp.float32) / 255.0 - mean) / deviation


def patches_of(images: jax.Array, size: int) -> jax.Array:
    """Cuts images [B, H, W, C] into patches [B, N, size * size * C], row by row.

    The numbers of a patch are in the order of its rows, columns and channels.
    """
    batch, height, width, channels = images.shape
    rows, columns = height // size, width // size
    cut = images.reshape(batch, rows, size, columns, size, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, size * size * channels)


class PatchEmbedding(nn.Module):
    """The linear map of patches; its bias is there where `config.patch_bias` says so."""

    config: VisionConfig

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images [B, H, W, C] float32 to [B, N, E] in `config.dtype`.

        Raises:
          ValueError: images of another size, or with other channels.
        """
        c = self.config
        expected = (c.image_size, c.image_size, c.num_channels)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(
                f"images: got {list(images.shape)}, expected [batch, {c.image_size}, "
                f"{c.image_size}, {c.num_channels}]: rows, columns and channels"
            )
        x = patches_of(images, c.patch_size).astype(jnp.dtype(c.dtype))
        inputs = x.shape[-1]
        initial = nn.initializers.normal(inputs**-0.5)
        kernel = parameter(self, "kernel", initial, (inputs, c.d_model), jnp.float32)
        y = jnp.einsum("bnp,pe->bne", x, kernel.astype(x.dtype))
        if c.patch_bias:
            bias: Any = parameter(self, "bias", nn.initializers.zeros, (c.d_model,), jnp.float32)
            y += bias.astype(x.dtype)[None, None]
        return y
