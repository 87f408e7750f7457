"""A language model's trunk with a head for each category of undesired content, and its loss.

Markov et al. 2022 (arXiv 2208.03274, section 4, "Model Architecture"): a decoder that starts from a
pretrained GPT; in place of its output layer each category has an MLP of its own, [d_model, 256, 1],
which interfered less than one head with eight outputs; dropout in the heads. A sigmoid makes of
each output a probability.

    params = with_heads(gpt_params, config, 8, 256, rng)
    logits = ModerationModel(config, 8, 256).apply({"params": params}, tokens, lengths)

Differs from the paper: it names neither the activation nor the initial parameters of the heads, nor
which hidden state they read. Here these are the model's activation, N(0, 1 / inputs), and the last
token's state or the mean over all.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gptjax import attention
from gptjax.config import ModelConfig
from gptjax.models.gpt import GPT
from gptjax.models.layers import ACTIVATIONS, Configured, identity
from gptjax.models.parameter_shapes import parameter, parameter_shapes
from gptjax.models.transformer import padding_segments
from gptjax.training.losses import Batch, Loss, dropout_from


class CategoryHeads(nn.Module):
    """An MLP [E, W, 1] for each of C categories, computed in float32.

    Attributes:
      config: its `activation` is that of the hidden units.
      num_categories: C.
      width: W, hidden units of each.
      dropout: rate on them.
    """

    config: ModelConfig
    num_categories: int
    width: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, features: jax.Array, deterministic: bool = True) -> jax.Array:
        """Maps features [B, E] to logits [B, C]."""
        count, inputs = self.num_categories, features.shape[-1]
        normal, zeros = nn.initializers.normal, nn.initializers.zeros
        shape = (count, inputs, self.width)
        kernel = parameter(self, "hidden_kernel", normal(inputs**-0.5), shape)
        bias = parameter(self, "hidden_bias", zeros, (count, self.width))
        out = parameter(self, "out_kernel", normal(self.width**-0.5), (count, self.width))
        out_bias = parameter(self, "out_bias", zeros, (count,))
        if self.is_initializing():  # `init` asks for parameters alone
            return jnp.zeros((len(features), count), jnp.float32)
        features = features.astype(jnp.float32)
        hidden = jnp.einsum("be,cew->bcw", features, kernel, preferred_element_type=jnp.float32)
        hidden = ACTIVATIONS[self.config.activation](hidden + bias[None])
        hidden = nn.Dropout(self.dropout)(hidden, deterministic=deterministic)
        return (
            jnp.einsum("bcw,cw->bc", hidden, out, preferred_element_type=jnp.float32)
            + out_bias[None]
        )


class ModerationModel(Configured):
    """A decoder with a head a category, the decoder's parameters named as those of `GPT`.

    Attributes:
      config: of the decoder.
      num_categories: C.
      head_width: hidden units of a head.
      dropout: rate on them.
      pooling: what heads read: "last", the last token's hidden state, or "mean", that of all.
      attend: as of `GPT`.
      constrain: likewise.
    """

    num_categories: int = 8
    head_width: int = 256
    dropout: float = 0.0
    pooling: str = "last"
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    def setup(self) -> None:
        """Declares the parameters."""
        self.decoder = GPT(self.config, self.attend, self.constrain)
        nn.share_scope(self, self.decoder)
        self.moderation_heads = CategoryHeads(
            self.config, self.num_categories, self.head_width, self.dropout
        )

    def __call__(
        self, tokens: jax.Array, lengths: jax.Array, *, deterministic: bool = True
    ) -> jax.Array:
        """The logits of the categories.

        Args:
          tokens: [B, T] int32, padding on the right.
          lengths: [B] int32, tokens that are not padding.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          [B, C] float32; of rows without tokens they are finite and mean nothing.
        """
        length = tokens.shape[1]
        hidden, _ = self.decoder.hidden(
            tokens,
            segment_ids=padding_segments(self.config, lengths, length),
            deterministic=deterministic,
        )
        if self.pooling == "last":
            last = jnp.maximum(lengths - 1, 0)[:, None, None]
            features = jnp.take_along_axis(hidden, last, axis=1)[:, 0]
        else:
            real = (jnp.arange(length)[None] < lengths[:, None])[..., None]
            total = jnp.where(real, hidden.astype(jnp.float32), 0).sum(1)
            features = total / jnp.maximum(lengths, 1).astype(jnp.float32)[:, None]
        return self.moderation_heads(features, deterministic)


def model_shapes(config: ModelConfig, count: int, width: int) -> Any:
    """Shapes of the parameters: those of a `GPT`, and those of the heads."""
    heads = jax.eval_shape(lambda: _head_params(config, count, width, jax.random.key(0)))
    return parameter_shapes(GPT(config)) | {"moderation_heads": heads}


def with_heads(params: Any, config: ModelConfig, count: int, width: int, rng: jax.Array) -> Any:
    """Parameters of a `GPT` of `config` with `count` heads of a `width`, drawn with `rng`."""
    return params | {"moderation_heads": _head_params(config, count, width, rng)}


def _head_params(config: ModelConfig, count: int, width: int, rng: jax.Array) -> Any:
    features = np.zeros((1, config.d_model), np.float32)
    return CategoryHeads(config, count, width).init(rng, features)["params"]


def known_labels(model: ModerationModel) -> Loss:
    """The loss: binary cross-entropy, averaged over all labels of a batch that are known.

    A batch is that of `rows.TextRows`. An unknown label has neither a loss nor a gradient.
    """

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        applied: Any = model.apply(
            {"params": params}, batch["tokens"], batch["lengths"], **dropout_from(rng)
        )
        nats = jnp.logaddexp(applied, 0.0) - batch["labels"] * applied
        known = batch["known"]
        total = jnp.sum(jnp.where(known > 0, nats, 0.0))
        right = (applied > 0) == (batch["labels"] > 0)
        return total, jnp.sum(known), {"accuracy": jnp.sum(jnp.where(right, known, 0.0))}

    return loss
