"""Heads: what maps hidden states to outputs.

logits = LanguageModelHead(config).apply({"params": params}, hidden, table)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax.config import ModelConfig
from gptjax.models.layers import ACTIVATIONS, LayerNorm
from gptjax.models.parameter_shapes import parameter
from gptjax.models.projections import Projection, rows_product


def padded_vocab_size(config: ModelConfig) -> int:
    """Rows of the embedding table: the vocabulary rounded up to `vocab_multiple`."""
    return -(-config.vocab_size // config.vocab_multiple) * config.vocab_multiple


class LanguageModelHead(nn.Module):
    """Next-token logits, from the embedding table when tied, else from a kernel of its own."""

    config: ModelConfig

    @nn.compact
    def __call__(self, hidden: jax.Array, table: jax.Array) -> jax.Array:
        """Maps hidden [B, T, E] and table [V', E] to logits [B, T, V'] in float32.

        V' is the padded vocabulary; logits of padded rows are minus infinity, so that they take
        no probability and are never sampled.
        """
        c = self.config
        if not c.tied_embeddings:
            table = parameter(
                self, "kernel", nn.initializers.normal(c.init_std), table.shape, jnp.float32
            )
        if self.is_initializing():  # `init` asks for parameters alone
            return jnp.zeros((*hidden.shape[:-1], table.shape[0]), jnp.float32)
        table = table.astype(hidden.dtype)
        if c.width_multiplier != 1.0:  # table 8 of muP: the output multiplier, 1 / fan in
            hidden = hidden / c.width_multiplier
        logits = rows_product(hidden, table)
        if table.shape[0] > c.vocab_size:
            real = jnp.arange(table.shape[0]) < c.vocab_size
            logits = jnp.where(real[None, None], logits, -jnp.inf)
        return logits


class MaskedLMHead(nn.Module):
    """Logits of hidden tokens: dense, activation, norm, and the embedding table with a bias.

    Source: google-research/bert, run_pretraining.py, get_masked_lm_output.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, hidden: jax.Array, table: jax.Array) -> jax.Array:
        """Maps hidden [B, P, E] and table [V', E] to logits [B, P, V'] in float32.

        V' is the padded vocabulary; logits of padded rows are minus infinity.
        """
        c = self.config
        hidden = ACTIVATIONS[c.activation](
            Projection((c.d_model,), c.init_std, name="dense")(hidden)
        )
        hidden = LayerNorm(c, name="norm")(hidden)
        bias = parameter(self, "bias", nn.initializers.zeros, (c.vocab_size,), jnp.float32)
        bias = jnp.pad(bias, (0, table.shape[0] - c.vocab_size), constant_values=-jnp.inf)
        return rows_product(hidden, table.astype(hidden.dtype)) + bias[None, None]


class ScalarHead(nn.Module):
    """One number for each position: a reward, or what a value network expects.

    Source: Stiennon et al. 2020 (arXiv 2009.01325, appendix B.1) for the initial kernel,
    N(0, 1 / (E + 1)).
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Maps hidden [B, T, E] to [B, T], computed in float32."""
        width = self.config.d_model
        kernel = parameter(self, "kernel", nn.initializers.normal((width + 1) ** -0.5), (width,))
        bias = parameter(self, "bias", nn.initializers.zeros, ())
        if self.is_initializing():
            return jnp.zeros(hidden.shape[:-1], jnp.float32)
        hidden = hidden.astype(jnp.float32)
        return jnp.einsum("bte,e->bt", hidden, kernel, preferred_element_type=jnp.float32) + bias


class TaskHead(nn.Module):
    """Numbers from vectors of a sequence: classes, a regression, a score, or ends of a span.

    Attributes:
      config: its `init_std` is the standard deviation of the initial kernel.
      num_outputs: C.
      initializer: of the kernel, given the standard deviation; GPT-1's is normal, BERT's is cut at
        two standard deviations (google-research/bert, run_classifier.py).
    """

    config: ModelConfig
    num_outputs: int
    initializer: Callable[[float], nn.initializers.Initializer] = nn.initializers.normal

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps K features of each example [B, K, E] to [B, K, C], computed in float32."""
        initial = self.initializer(self.config.init_std)
        kernel = parameter(self, "kernel", initial, (features.shape[-1], self.num_outputs))
        bias = parameter(self, "bias", nn.initializers.zeros, (self.num_outputs,))
        if self.is_initializing():
            return jnp.zeros((*features.shape[:-1], self.num_outputs), jnp.float32)
        features = features.astype(jnp.float32)
        outputs = jnp.einsum("bke,ec->bkc", features, kernel, preferred_element_type=jnp.float32)
        return outputs + bias[None, None]
