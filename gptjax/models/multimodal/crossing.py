"""Images that text reads by cross attention: which image each token sees, and what decoding keeps.

A token sees the last image before it in its own document, and no other; one without an image sees
nothing. So does Flamingo (Alayrac et al. 2022, arXiv 2204.14198, section 3.1.3). Differs from the
paper: every layer has cross attention, between its own and the feed-forward, without a gate.

    queries = seen_images(tokens == mark, segment_ids)
"""

import dataclasses

import jax
import jax.numpy as jnp

from gptjax.models.cross_attention import Context
from gptjax.pytrees import pytree


@pytree
@dataclasses.dataclass(frozen=True)
class ImageCache:
    """What the texts of a batch see of their images, beside the caches of the layers.

    Attributes:
      heads: of each layer keys [B, S, K, D] and values [B, S, K, V].
      segment_ids: int32 [B, S], the number of each place's image, from 1; -1 where there is none.
      count: int32 [B], images that stand before the next token.
    """

    heads: tuple[tuple[jax.Array, jax.Array], ...]
    segment_ids: jax.Array
    count: jax.Array

    def contexts(self, begins: jax.Array) -> tuple[tuple[Context, ...], "ImageCache"]:
        """What each layer reads, and the cache after these tokens.

        Args:
          begins: bool [B, T], whether each token is where an image begins.
        """
        numbers = self.count[:, None] + jnp.cumsum(begins, axis=1, dtype=jnp.int32)
        made = tuple(Context(self.segment_ids, heads=pair, queries=numbers) for pair in self.heads)
        return made, dataclasses.replace(self, count=numbers[:, -1])


def seen_images(begins: jax.Array, segment_ids: jax.Array | None = None) -> jax.Array:
    """The number of the image that each token sees, from 1 in its row; 0: none.

    Args:
      begins: bool [B, T], whether each token is where an image begins.
      segment_ids: int32 [B, T]; an image is seen in its own segment alone.
    """
    numbers = jnp.cumsum(begins, axis=1, dtype=jnp.int32)
    if segment_ids is None:
        return numbers
    places = jnp.arange(begins.shape[1], dtype=jnp.int32)[None]
    last = jax.lax.cummax(jnp.where(begins, places, -1), axis=1)
    of_last = jnp.take_along_axis(segment_ids, jnp.maximum(last, 0), axis=1)
    return jnp.where((last >= 0) & (of_last == segment_ids), numbers, 0)


def image_numbers(rows: int, images: int, places: int) -> jax.Array:
    """The number of the image of each of `places` places an image, from 1; int32 [rows, S]."""
    numbers = jnp.repeat(jnp.arange(1, images + 1, dtype=jnp.int32), places)
    return jnp.broadcast_to(numbers[None], (rows, images * places))
