"""Images that are moved and turned a little, anew in each step: the usual augmentation of digits.

images = jittered(rng, images, shift=2.0, degrees=10.0)
"""

import jax
import jax.numpy as jnp


def jittered(rng: jax.Array, images: jax.Array, *, shift: float, degrees: float) -> jax.Array:
    """Turns images about their middle, then moves them; values between pixels are interpolated.

    Args:
      rng: key.
      images: [..., H, W, C] uint8.
      shift: most pixels along each axis; drawn uniformly on both sides of 0.
      degrees: most degrees, likewise.

    Returns:
      [..., H, W, C] uint8; what comes in at the edges has the values of the edges.
    """
    height, width, channels = images.shape[-3:]
    flat = images.reshape(-1, height, width, channels).astype(jnp.float32)
    keys = jax.random.split(rng)
    angles = jnp.deg2rad(jax.random.uniform(keys[0], flat.shape[:1], minval=-1.0)) * degrees
    moves = jax.random.uniform(keys[1], (len(flat), 2), minval=-1.0) * shift
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2

    def one(image: jax.Array, angle: jax.Array, move: jax.Array) -> jax.Array:
        rows = jnp.cos(angle) * y - jnp.sin(angle) * x + (height - 1) / 2 + move[0]
        columns = jnp.sin(angle) * y + jnp.cos(angle) * x + (width - 1) / 2 + move[1]

        def of_channel(channel: jax.Array) -> jax.Array:
            return jax.scipy.ndimage.map_coordinates(
                channel, [rows, columns], order=1, mode="nearest"
            )

        return jax.vmap(of_channel, -1, -1)(image)

    moved = jax.vmap(one)(flat, angles, moves)
    return jnp.round(moved).astype(jnp.uint8).reshape(images.shape)
