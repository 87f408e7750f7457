"""A decoder that reads images among its text, as KOSMOS-1 does.

Huang et al. 2023 (arXiv 2302.14045, sections 2.1 and 2.2): an encoder of images, a resampler to a
number of places, and a causal Transformer over text and places alike. GPT-4's report (arXiv
2303.08774, section 2) says of its own images only that they and text stand in any order.

    logits = ImageGPT(config).apply({"params": params}, tokens, images=images)
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.attention.patterns import Dense
from gptjax.attention.wholes import seen_to_the_end, through_the_last
from gptjax.models.cross_attention import Context
from gptjax.models.gpt import GPT
from gptjax.models.multimodal.connectors import CONNECTORS
from gptjax.models.multimodal.crossing import ImageCache, image_numbers, seen_images
from gptjax.models.projections import head_shapes
from gptjax.models.transformer import Cache, Transformer, contexts_of_layers
from gptjax.models.vision.vit import ViT
from gptjax.multimodal_config import MultimodalConfig


class ImageGPT(GPT):
    """A decoder with an encoder of images; attributes and methods are those of `GPT`."""

    config: MultimodalConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        """Declares the parameters."""
        super().setup()
        c = self.config
        self.vision = ViT(c.vision, attend=self.attend, constrain=self.constrain)
        connector = CONNECTORS[c.connector]
        self.connector = connector(c, attend=self.attend, constrain=self.constrain)

    def made_trunk(self) -> Transformer:
        """The layers, with cross attention if images are read by it."""
        cross = (Dense(),) if self.config.crosses else ()
        return Transformer(self.config, attend=self.attend, constrain=self.constrain, cross=cross)

    def init_cache(self, batch: int, length: int, chunk: int | None = None) -> Cache:
        """As of `GPT`, and an `ImageCache` of no images if they are read by cross attention."""
        caches, c = super().init_cache(batch, length, chunk), self.config
        if not c.crosses:
            return caches
        size = c.cross_images * c.image_places
        shapes = head_shapes(c)

        def empty(name: str) -> jax.Array:
            return jnp.zeros((batch, size, *shapes[name]), jnp.dtype(c.dtype))

        heads = tuple((empty("key"), empty("value")) for _ in range(c.num_layers))
        none = jnp.full((batch, size), -1, jnp.int32)
        return (*caches, ImageCache(heads, none, jnp.zeros(batch, jnp.int32)))

    def shown(self, cache: Cache, images: jax.Array) -> Cache:
        """An empty cache with images [B, N, H, W, C], N of which at most `config.cross_images`."""
        c, own = self.config, cache[-1]
        images = images[:, : c.cross_images]
        context = self._context(images, deterministic=True)
        params = self.variables["params"]["trunk"]
        size = context.segment_ids.shape[1]
        made = contexts_of_layers(c, params, context)
        heads = tuple(
            tuple(kept.at[:, :size].set(new) for kept, new in zip(pair, each.heads, strict=True))
            for pair, each in zip(own.heads, made, strict=True)
            if each.heads is not None
        )
        segment_ids = own.segment_ids.at[:, :size].set(context.segment_ids)
        return (*cache[:-1], ImageCache(heads, segment_ids, own.count))

    def _context(self, images: jax.Array | None, *, deterministic: bool, rows: int = 1) -> Context:
        """What cross attention reads of images, or of none in so many rows."""
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        if images is None or not images.shape[1]:
            return Context(
                jnp.full((rows, 1), -1, jnp.int32), jnp.zeros((rows, 1, c.d_model), dtype)
            )
        made = self.image_embeddings(images, deterministic=deterministic).astype(dtype)
        return Context(image_numbers(len(images), images.shape[1], c.image_places), made)

    def image_embeddings(self, images: jax.Array, *, deterministic: bool = True) -> jax.Array:
        """What is read at the places of images.

        Args:
          images: [B, N, H, W, C] uint8, 0 to 255.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          [B, N n, E] in the encoder's dtype, n places an image.
        """
        rows, count = images.shape[:2]
        flat = images.reshape(rows * count, *images.shape[2:])
        features, _ = self.vision(flat, deterministic=deterministic)
        places = self.connector(features, deterministic=deterministic)
        return places.reshape(rows, -1, self.config.d_model)

    def embedded(
        self, tokens: jax.Array, images: jax.Array, *, deterministic: bool = True
    ) -> jax.Array:
        """Embeddings [B, T, E] float32 of tokens [B, T] and, at their places, of images.

        Places, which have the id `config.soft_token`, are filled in the order of the images
        [B, N, H, W, C] of their row; those past the last image become NaN.
        """
        places = self.image_embeddings(images, deterministic=deterministic).astype(jnp.float32)
        is_place = tokens == self.config.soft_token
        number = jnp.maximum(jnp.cumsum(is_place, axis=1) - 1, 0)
        filled = jnp.take_along_axis(places, number[..., None], axis=1, mode="fill")
        text = self.constrain(self.token_embedding, ("vocab", "embed"))[tokens]
        return jnp.where(is_place[..., None], filled, text.astype(jnp.float32))

    def hidden(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: jax.Array,
        *,
        images: jax.Array | None = None,
        embeddings: jax.Array | None = None,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        cache: Cache | None = None,
        deterministic: bool = True,
    ) -> tuple[jax.Array, Cache | None]:
        """The trunk: hidden states of text with images.

        Args:
          inputs: tokens [B, T] int32.
          images: [B, N, H, W, C] uint8, those of each row in the order of their places; None: the
            tokens have no places.
          embeddings: [B, T, E], what `embedded` has made of these tokens and their images; None:
            it is made here.
          positions, segment_ids, cache, deterministic: as of `GPT.hidden`.

        Returns:
          As of `GPT.hidden`.
        """
        c = self.config
        if self.is_initializing() and images is None:
            vision = c.vision
            size = vision.image_size, vision.image_size, vision.num_channels
            images = jnp.zeros((len(inputs), 1, *size), jnp.uint8)
        if c.crosses:
            return self._crossing(
                inputs,
                images,
                positions=positions,
                segment_ids=segment_ids,
                cache=cache,
                deterministic=deterministic,
            )
        order, read = None, inputs
        if c.has_wholes:
            inside = inputs == c.soft_token
            if c.image_attention == "prefix":
                inside = through_the_last(inside, segment_ids)
            order = seen_to_the_end(inside, positions)
        if embeddings is not None:
            read = embeddings
        elif images is not None and images.shape[1]:
            read = self.embedded(inputs, images, deterministic=deterministic)
        return super().hidden(
            read,
            positions=positions,
            segment_ids=segment_ids,
            cache=cache,
            deterministic=deterministic,
            order=order,
        )

    def _crossing(
        self,
        inputs: jax.Array,
        images: jax.Array | None,
        *,
        positions: jax.Array | None,
        segment_ids: jax.Array | None,
        cache: Cache | None,
        deterministic: bool,
    ) -> tuple[jax.Array, Cache | None]:
        """`hidden` of a decoder whose text reads images by cross attention.

        With a cache images are those that `shown` has put into it.
        """
        begins = inputs == self.config.image_mark
        given: dict[str, Any] = {"segment_ids": segment_ids, "positions": positions}
        if cache is None:
            context = self._context(images, deterministic=deterministic, rows=len(inputs))
            context = dataclasses.replace(context, queries=seen_images(begins, segment_ids))
            return super().hidden(inputs, context=context, deterministic=deterministic, **given)
        if positions is not None:
            begins &= positions >= 0
        contexts, own = cache[-1].contexts(begins)
        hidden, caches = super().hidden(inputs, context=contexts, cache=cache[:-1], **given)
        assert caches is not None
        return hidden, (*caches, own)
