"""A ViT with a linear head of classes.

ViT (arXiv 2010.11929, section 3.1): the head starts at zero. With `pooler` it stands on a dense
layer with tanh, as in the paper's pretraining; without, on the pooled state, as in fine-tuning.

    logits = ImageClassifier(config).apply({"params": params}, images)   # [B, C] float32

Parameters of the encoder are named as those of `ViT`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax import attention
from gptjax.models.layers import Configured, identity
from gptjax.models.parameter_shapes import parameter
from gptjax.models.vision.vit import ViT
from gptjax.vision_config import ImageClassifierConfig


class Head(nn.Module):
    """A linear map to logits, which starts at zero; computed in float32."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, E] to logits [B, C] float32."""
        zeros, shape = nn.initializers.zeros, (x.shape[-1], self.num_classes)
        kernel = parameter(self, "kernel", zeros, shape, jnp.float32)
        bias = parameter(self, "bias", zeros, (self.num_classes,), jnp.float32)
        return x.astype(jnp.float32) @ kernel + bias[None]


class ImageClassifier(Configured):
    """An encoder of images and its head.

    Attributes:
      config: as of `Configured`.
      attend: as of `ViT`.
      constrain: likewise.
    """

    config: ImageClassifierConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    def setup(self) -> None:
        """Declares the parameters."""
        self.encoder = ViT(self.config, self.attend, self.constrain)
        nn.share_scope(self, self.encoder)
        self.task_head = Head(self.config.num_classes)

    def __call__(self, images: jax.Array, *, deterministic: bool = True) -> jax.Array:
        """Logits [B, C] float32 of images, as `ViT` takes them."""
        return self.task_head(self.encoder(images, deterministic=deterministic)[1])
