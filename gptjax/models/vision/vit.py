"""The Vision Transformer: patches of an image, embedded, in an encoder.

Dosovitskiy et al. 2020 (arXiv 2010.11929, section 3.1). With `entry_norm`, no `patch_bias` and
`activation=gelu_sigmoid` it is the image encoder of CLIP (arXiv 2103.00020, section 2.4).

    hidden, pooled = ViT(config).apply({"params": params}, images)   # images [B, H, W, C]
    params, config = at_image_size(params, config, 384)              # of vision.positions

Differs from the paper: initial weights are normal with `init_std`, those of patches with one over
the root of their inputs; the class token starts so too.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax import attention
from gptjax.models.layers import Configured, LayerNorm, identity
from gptjax.models.parameter_shapes import parameter
from gptjax.models.projections import Projection
from gptjax.models.transformer import Transformer
from gptjax.models.vision.patches import PatchEmbedding, pixel_values
from gptjax.models.vision.positions import sinusoidal_2d
from gptjax.vision_config import VisionConfig


class ViT(Configured):
    """An encoder of images.

    Attributes:
      config: as of `Configured`.
      attend: what computes attention; the contract is `attention.attend`'s.
      constrain: `(x, axes) -> x`, where activations live; axes are names such as "batch".
    """

    config: VisionConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    def setup(self) -> None:
        """Declares the parameters."""
        c = self.config
        table = nn.initializers.normal(c.init_std)
        self.patch_embedding = PatchEmbedding(c)
        if c.pooling == "class":
            self.class_embedding = parameter(
                self, "class_embedding", table, (c.d_model,), jnp.float32
            )
        if c.positions == "learned":
            self.position_embedding = parameter(
                self, "position_embedding", table, (c.num_positions, c.d_model), jnp.float32
            )
        if c.entry_norm:
            self.entry_norm = LayerNorm(c)
        self.dropout = nn.Dropout(c.embedding_dropout)
        self.trunk = Transformer(c, causal=False, attend=self.attend, constrain=self.constrain)
        if c.pooler:
            self.pooler = Projection((c.d_model,), c.init_std)

    def __call__(
        self, images: jax.Array, *, deterministic: bool = True
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes images.

        Args:
          images: [B, H, W, C] float32 as `pixel_values` makes them; or uint8, of which it makes
            them first. H and W are `config.image_size`, C is `config.num_channels`.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          Hidden states [B, T, E] after the last LayerNorm and what stands for each image [B, E],
          both in `config.dtype`. T is `config.num_positions`: the patches, row by row; with
          `pooling="class"` the class token is in front of them.

        Raises:
          ValueError: images of another size, or with other channels.
        """
        c = self.config
        hidden, _ = self.trunk(self._embedded(images, deterministic), deterministic=deterministic)
        pooled = hidden[:, 0]
        if c.pooling == "mean":
            pooled = hidden.astype(jnp.float32).mean(1).astype(hidden.dtype)
        return hidden, jnp.tanh(self.pooler(pooled)) if c.pooler else pooled

    def _embedded(self, images: jax.Array, deterministic: bool) -> jax.Array:
        """The class token and the patches [B, T, E] with their positions, in `config.dtype`."""
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        x = self.patch_embedding(pixel_values(c, images)).astype(jnp.float32)
        if c.positions == "sinusoidal_2d":  # a class token has no place in the image
            x += sinusoidal_2d(c.grid, c.d_model)[None]
        if c.pooling == "class":
            first = jnp.broadcast_to(self.class_embedding[None, None], (len(x), 1, c.d_model))
            x = jnp.concatenate([first, x], 1)
        if c.positions == "learned":
            x += self.constrain(self.position_embedding, (None, "embed"))[None]
        if c.entry_norm:
            x = self.entry_norm(x)
        x = self.dropout(x.astype(dtype), deterministic=deterministic)
        return self.constrain(x, ("batch", "sequence", "embed"))
