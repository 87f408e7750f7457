"""BERT: an encoder whose positions see all of their text, and the heads that it is trained with.

Devlin et al. 2018 (arXiv 1810.04805, section 3), google-research/bert, modeling.py. Embeddings of
tokens, positions and token types are added, normalised and dropped out; post-norm layers follow.

Differs from the paper: initial weights are normal, where the original cuts the normal distribution
at two standard deviations.

    outputs = Bert(config).apply({"params": params}, tokens)
    outputs.masked_lm   # [B, T, V]
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax import attention
from gptjax.model_config import BertConfig
from gptjax.models.heads import MaskedLMHead, padded_vocab_size
from gptjax.models.layers import Configured, LayerNorm, identity
from gptjax.models.parameter_shapes import parameter
from gptjax.models.positions import sinusoidal
from gptjax.models.projections import Projection
from gptjax.models.transformer import Transformer

TOKEN_TYPES = 2  # the first part of a row, and the second


class Outputs(NamedTuple):
    """Outputs of `Bert`; None where it has no such head.

    Attributes:
      hidden: [B, T, E] in `config.dtype`.
      pooled: [B, E] in `config.dtype`, of the first token.
      masked_lm: logits [B, T, V], float32.
      next_sentence: logits [B, 2], float32; 1 stands for a random second part.
    """

    hidden: jax.Array
    pooled: jax.Array | None
    masked_lm: jax.Array | None
    next_sentence: jax.Array | None


class Bert(Configured):
    """An encoder with the heads that `config.heads` names.

    Attributes:
      config: as of `Configured`.
      attend: what computes attention; the contract is `attention.attend`'s.
      constrain: `(x, axes) -> x`, where activations live; axes are names such as "batch".
    """

    config: BertConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    def setup(self) -> None:
        """Declares the parameters."""
        c = self.config
        table = nn.initializers.normal(c.init_std)
        self.token_embedding = parameter(
            self, "token_embedding", table, (padded_vocab_size(c), c.d_model), jnp.float32
        )
        if c.positions == "learned":
            self.position_embedding = parameter(
                self, "position_embedding", table, (c.context_length, c.d_model), jnp.float32
            )
        self.token_type_embedding = parameter(
            self, "token_type_embedding", table, (TOKEN_TYPES, c.d_model), jnp.float32
        )
        self.embedding_norm = LayerNorm(c)
        self.dropout = nn.Dropout(c.embedding_dropout)
        self.trunk = Transformer(c, causal=False, attend=self.attend, constrain=self.constrain)
        if c.heads != "masked_lm":
            self.pooler = Projection((c.d_model,), c.init_std)
        if c.heads != "encoder":
            self.masked_lm_head = MaskedLMHead(c)
        if c.heads == "pretraining":
            self.next_sentence_head = Projection((2,), c.init_std)

    def hidden(
        self,
        tokens: jax.Array,
        *,
        token_types: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        positions: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """The encoder.

        Args:
          tokens: [B, T] int32.
          token_types: [B, T] int32, 0 in the first part of a row and 1 in the second; 0 by default.
          segment_ids: [B, T] int32; tokens attend within their own segment only, and nobody to or
            from negative ones, which are padding.
          positions: [B, T] int32, 0..T-1 by default.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          Hidden states [B, T, E] in `config.dtype`.

        Raises:
          ValueError: more tokens than the context holds.
        """
        c = self.config
        length = tokens.shape[1]
        if length > c.context_length:
            raise ValueError(f"tokens: got {length} a row, expected at most {c.context_length}")
        at = jnp.arange(length)[None] if positions is None else positions
        x = self.constrain(self.token_embedding, ("vocab", "embed"))[tokens]
        x += self.token_type_embedding[
            jnp.zeros_like(tokens) if token_types is None else token_types
        ]
        if c.positions == "learned":
            x += jnp.take(self.position_embedding, at, axis=0)
        elif c.positions == "sinusoidal":
            x += sinusoidal(at, c.d_model)
        x = self.embedding_norm(x).astype(jnp.dtype(c.dtype))
        x = self.dropout(x, deterministic=deterministic)
        x = self.constrain(x, ("batch", "sequence", "embed"))
        return self.trunk(
            x, segment_ids=segment_ids, positions=positions, deterministic=deterministic
        )[0]

    def pooled(self, hidden: jax.Array) -> jax.Array:
        """The row as a whole, [B, E]: hidden states [B, T, E] of the first token, dense, tanh."""
        return jnp.tanh(self.pooler(hidden[:, 0]))

    def masked_logits(self, hidden: jax.Array) -> jax.Array:
        """Hidden states [B, P, E] to logits over the padded vocabulary [B, P, V'], float32."""
        logits = self.masked_lm_head(hidden, self.token_embedding)
        return self.constrain(logits, ("batch", "sequence", "vocab"))

    def next_sentence_logits(self, hidden: jax.Array) -> jax.Array:
        """Hidden states [B, T, E] to logits [B, 2], float32; 1 stands for a random second part."""
        return self.next_sentence_head(self.pooled(hidden)).astype(jnp.float32)

    def __call__(self, tokens: jax.Array, **context: Any) -> Outputs:
        """All outputs; arguments are those of `hidden`."""
        hidden, heads = self.hidden(tokens, **context), self.config.heads
        masked_lm = None
        if heads != "encoder":
            masked_lm = self.masked_logits(hidden)[..., : self.config.vocab_size]
        return Outputs(
            hidden,
            None if heads == "masked_lm" else self.pooled(hidden),
            masked_lm,
            self.next_sentence_logits(hidden) if heads == "pretraining" else None,
        )
