"""Wholes in a text, such as images, whose parts see each other: an order for causality to judge by.

Under causality a query sees keys that are not behind it. Where all parts of a whole stand at the
place of its last part, each sees all others, and everything else is as it was: any pattern, any
implementation and the cache of decoding hold for wholes too, as each judges by positions. A whole
is written to the cache in one chunk. PaliGemma's `mask_ar` (arXiv 2407.07726, section 3.2.1) and
Gemma 3's images (arXiv 2503.19786, section 2) are the same rule.

    order = seen_to_the_end(tokens == soft_token)
    out = attend(q, k, v, "dense", q_positions=order, k_positions=order)
"""

import jax
import jax.numpy as jnp


def seen_to_the_end(inside: jax.Array, positions: jax.Array | None = None) -> jax.Array:
    """Positions by which attention judges, where runs of parts are wholes.

    Args:
      inside: bool [B, T], whether each token is part of a whole; neighbours are of the same one.
      positions: int32 [B, T] or [1, T], which grow by one within a whole; None: 0..T-1. Negative
        ones are padding.

    Returns:
      int32 [B, T]: of a part the position of its whole's last part, else its own.
    """
    places = jnp.arange(inside.shape[1], dtype=jnp.int32)[None]
    at = jnp.broadcast_to(places if positions is None else positions, inside.shape)
    outside = jnp.where(inside, inside.shape[1], places)
    after = jax.lax.cummin(outside, axis=1, reverse=True)  # the first place behind each whole
    return jnp.where(inside & (at >= 0), at + (after - 1 - places), at)


def through_the_last(parts: jax.Array, segment_ids: jax.Array | None = None) -> jax.Array:
    """Whether each token has a part at its place or behind it in its own segment: a prefix.

    As `inside` of `seen_to_the_end` this makes one whole of all that stands up to a text's last
    image (PaliGemma's prefix, arXiv 2407.07726, section 3.2.1).

    Args:
      parts: bool [B, T].
      segment_ids: int32 [B, T], of which neighbours that are equal are one segment; None: each row
        is one.

    Returns:
      bool [B, T].
    """
    end = parts.shape[1]
    places = jnp.arange(end, dtype=jnp.int32)[None]
    following = jax.lax.cummin(jnp.where(parts, places, end), axis=1, reverse=True)
    if segment_ids is None:
        return following < end
    of_next = jnp.take_along_axis(segment_ids, jnp.minimum(following, end - 1), axis=1)
    return (following < end) & (of_next == segment_ids)
