"""A decoder that reads images among its text, as KOSMOS-1 does.

Huang et al. 2023 (arXiv 2302.14045, sections 2.1 and 2.2): an encoder of images, a resampler to a
number of places, and a causal Transformer over text and places alike. GPT-4's report (arXiv
2303.08774, section 2) says of its own images only that they and text stand in any order.

    logits = ImageGPT(config).apply({"params": params}, tokens, images=images)
"""

import jax
import jax.numpy as jnp

from gptjax.attention.wholes import seen_to_the_end, through_the_last
from gptjax.models.gpt import GPT
from gptjax.models.multimodal.connectors import CONNECTORS
from gptjax.models.transformer import Cache
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
