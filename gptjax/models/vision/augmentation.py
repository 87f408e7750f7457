"""Random changes of images in training: size and place, mirror image, colours; place and turn.

    pixels = augmented(pixels, Augmentation(scale=0.2, shift=0.1, colour=0.2), rng)
    images = jittered(images, rng, shift=2.0, degrees=10.0)

A run with few images learns them by heart without. What moves in from outside repeats the edge.
"""

import jax
import jax.numpy as jnp

from gptjax.vision_config import Augmentation


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


def jittered(images: jax.Array, rng: jax.Array, *, shift: float, degrees: float) -> jax.Array:
    """Moves and turns images a little, as is usual for digits.

    Args:
      images: [..., H, W, C] uint8.
      rng: decides all.
      shift: most pixels along each axis; drawn uniformly on both sides of 0.
      degrees: most degrees, likewise.

    Returns:
      [..., H, W, C] uint8.
    """
    size = jnp.array([images.shape[-3:-1]], jnp.float32)
    flat = images.reshape(-1, *images.shape[-3:]).astype(jnp.float32)
    keys = jax.random.split(rng)
    angles = jnp.deg2rad(jax.random.uniform(keys[0], flat.shape[:1], minval=-1.0)) * degrees
    shifts = jax.random.uniform(keys[1], (len(flat), 2), minval=-1.0) * -shift / size
    zoom = jnp.ones((len(flat), 2))
    if degrees:
        moved = jax.vmap(_turned)(flat, zoom, shifts, angles)
    else:
        moved = jax.vmap(_moved)(flat, zoom, shifts)
    return jnp.round(moved).astype(jnp.uint8).reshape(images.shape)


def _moved(image: jax.Array, zoom: jax.Array, shift: jax.Array) -> jax.Array:
    """An image [H, W, C] about whose middle both axes are scaled by `zoom`, then shifted [2]."""
    weights = []
    for axis, size in enumerate(image.shape[:2]):
        at = _before(_centred(size), size, zoom[axis], shift[axis])
        at = jnp.clip(at, 0, size - 1)[:, None] - jnp.arange(size, dtype=jnp.float32)[None]
        weights.append(jnp.maximum(0, 1 - jnp.abs(at)))  # of linear interpolation, [new, old]
    return jnp.einsum("yr,xc,rck->yxk", *weights, image)


def _turned(image: jax.Array, zoom: jax.Array, shift: jax.Array, angle: jax.Array) -> jax.Array:
    """As `_moved`; then it is turned about the middle, by radians, so that axes do not part."""
    y, x = jnp.meshgrid(*map(_centred, image.shape[:2]), indexing="ij")
    turned = jnp.cos(angle) * y - jnp.sin(angle) * x, jnp.sin(angle) * y + jnp.cos(angle) * x
    at = [_before(turned[axis], image.shape[axis], zoom[axis], shift[axis]) for axis in (0, 1)]

    def of_channel(channel: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(channel, at, order=1, mode="nearest")

    return jax.vmap(of_channel, -1, -1)(image)


def _centred(size: int) -> jax.Array:
    """The places of pixels along an axis, from its middle."""
    return jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2


def _before(at: jax.Array, size: int, zoom: jax.Array, shift: jax.Array) -> jax.Array:
    """Where along an axis what stands at places from the middle stood before, as an index."""
    return (at - shift * size) / zoom + (size - 1) / 2
