"""CLIP: an encoder of texts and one of images, whose outputs are compared by their cosines.

Radford et al. 2021 (arXiv 2103.00020, section 2.4 and figure 3). The encoder of texts is a causal
GPT: what stands for a text is the hidden state of its last token, the end-of-text. Each encoder has
a linear map into the space that they share.

    images, texts, scale = CLIP(config).apply({"params": params}, tokens, lengths, images)
    logits = scale * images @ texts.T

Parameters of texts are named as those of `GPT`; those of images are under `vision`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax import attention
from gptjax.models.gpt import GPT
from gptjax.models.layers import Configured, identity
from gptjax.models.parameter_shapes import parameter
from gptjax.models.transformer import padding_segments
from gptjax.models.vision.vit import ViT
from gptjax.vision_config import ClipConfig

LARGEST_SCALE = 100.0  # section 2.5


class CLIP(Configured):
    """Both encoders.

    Attributes:
      config: as of `Configured`.
      attend: what computes attention; the contract is `attention.attend`'s.
      constrain: `(x, axes) -> x`, where activations live; axes are names such as "batch".
    """

    config: ClipConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    def setup(self) -> None:
        """Declares the parameters."""
        c = self.config
        self.texts = GPT(c, self.attend, self.constrain)
        nn.share_scope(self, self.texts)
        self.vision = ViT(c.vision, self.attend, self.constrain)
        for name, width in (("text", c.d_model), ("image", c.vision.d_model)):
            normal = nn.initializers.normal(width**-0.5)
            made = parameter(self, f"{name}_projection", normal, (width, c.projection), jnp.float32)
            setattr(self, f"{name}_projection", made)
        scale = nn.initializers.constant(math.log(c.initial_scale))
        self.logit_scale = parameter(self, "logit_scale", scale, (), jnp.float32)

    def encode_texts(
        self, tokens: jax.Array, lengths: jax.Array, *, deterministic: bool = True
    ) -> jax.Array:
        """Places texts in the shared space.

        Args:
          tokens: [B, T] int32, padding on the right.
          lengths: [B] int32, tokens that are not padding, at least 1.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          [B, P] float32, each of length 1.
        """
        hidden, _ = self.texts.hidden(
            tokens,
            segment_ids=padding_segments(self.config, lengths, tokens.shape[1]),
            deterministic=deterministic,
        )
        last = jnp.maximum(lengths - 1, 0)[:, None, None]
        return self._placed(jnp.take_along_axis(hidden, last, axis=1)[:, 0], "text_projection")

    def encode_images(self, images: jax.Array, *, deterministic: bool = True) -> jax.Array:
        """Places images, as `ViT` takes them, in the shared space: [B, P] float32, of length 1."""
        _, pooled = self.vision(images, deterministic=deterministic)
        return self._placed(pooled, "image_projection")

    def scale(self) -> jax.Array:
        """The factor of the cosines, float32, at most `LARGEST_SCALE`."""
        return jnp.exp(jnp.minimum(self.logit_scale, math.log(LARGEST_SCALE)))

    def __call__(
        self,
        tokens: jax.Array,
        lengths: jax.Array,
        images: jax.Array,
        *,
        deterministic: bool = True,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Images [B, P] and texts [B, P] in the shared space, and the factor of their cosines."""
        return (
            self.encode_images(images, deterministic=deterministic),
            self.encode_texts(tokens, lengths, deterministic=deterministic),
            self.scale(),
        )

    def _placed(self, x: jax.Array, name: str) -> jax.Array:
        """`x` [B, E] by a projection [E, P], at length 1, in float32."""
        placed = x.astype(jnp.float32) @ getattr(self, name)
        length = jnp.sqrt(jnp.sum(jnp.square(placed), axis=-1, keepdims=True))
        return placed / jnp.maximum(length, 1e-12)
