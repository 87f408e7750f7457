"""Random changes of images in training: size and place, mirror image, colours.

    pixels = augmented(pixels, Augmentation(scale=0.2, shift=0.1, colour=0.2), rng)

A run with few images learns them by heart without. What moves in from outside repeats the edge.
"""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far images are changed; 0 everywhere: not at all.

    Attributes:
      scale: s; sizes are multiplied by 1 - s to 1 + s, in both directions alike.
      shift: images are moved by up to so much of their size, in each direction.
      mirror: whether each other image is mirrored, left to right.
      colour: a; each channel is multiplied by 1 - a to 1 + a, and as much is added to it.
    """

    scale: float = 0.0
    shift: float = 0.0
    mirror: bool = False
    colour: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self != UNCHANGED


UNCHANGED = Augmentation()


def augmented(pixels: jax.Array, change: Augmentation, rng: jax.Array) -> jax.Array:
    """Changes each image in its own way.

    Args:
      pixels: [B, H, W, C] float32.
      change: how far.
      rng: decides all.

    Returns:
      [B, H, W, C] float32.
    """
    batch, channels = pixels.shape[0], pixels.shape[3]
    place, mirror, colour = jax.random.split(rng, 3)

    def between(key: jax.Array, most: float, *shape: int) -> jax.Array:
        return jax.random.uniform(key, shape, jnp.float32, -most, most)

    if change.scale or change.shift or change.mirror:
        size, shift = jax.random.split(place)
        zoom = jnp.tile(1 + between(size, change.scale, batch, 1), (1, 2))
        if change.mirror:
            turned = jax.random.bernoulli(mirror, shape=(batch,))
            zoom *= jnp.stack([jnp.ones(batch), jnp.where(turned, -1.0, 1.0)], axis=1)
        pixels = jax.vmap(_moved)(pixels, zoom, between(shift, change.shift, batch, 2))
    if change.colour:
        factor, offset = jax.random.split(colour)
        shape = (batch, 1, 1, channels)
        pixels *= 1 + between(factor, change.colour, *shape)
        pixels += between(offset, change.colour, *shape)
    return pixels


def _moved(image: jax.Array, zoom: jax.Array, shift: jax.Array) -> jax.Array:
    """An image [H, W, C] about whose middle both axes are scaled by `zoom`, then shifted [2]."""
    weights = [_linear(size, zoom[axis], shift[axis]) for axis, size in enumerate(image.shape[:2])]
    return jnp.einsum("yr,xc,rck->yxk", *weights, image)


def _linear(size: int, zoom: jax.Array, shift: jax.Array) -> jax.Array:
    """What each pixel of an axis takes of each pixel before, by linear interpolation [new, old]."""
    half = (size - 1) / 2
    at = (jnp.arange(size, dtype=jnp.float32) - half - shift * size) / zoom + half
    at = jnp.clip(at, 0, size - 1)
    return jnp.maximum(0, 1 - jnp.abs(at[:, None] - jnp.arange(size, dtype=jnp.float32)[None]))
