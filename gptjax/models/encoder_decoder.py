"""The Transformer, encoder and decoder: one table, two stacks, cross attention between them.

Attention Is All You Need (arXiv 1706.03762, section 3). Source, target and logits share one table
of embeddings, N(0, 1 / E) at the start, which is multiplied by sqrt(E) at the input (section 3.4).
Differs from the paper: projections of attention have biases, as all of this library's; they are
0.1% of the parameters.

    logits = EncoderDecoder(config).apply({"params": params}, sources, tokens)
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax import attention
from gptjax.model_config import EncoderDecoderConfig
from gptjax.models.cross_attention import Context
from gptjax.models.heads import LanguageModelHead, padded_vocab_size
from gptjax.models.layers import Configured, identity
from gptjax.models.parameter_shapes import parameter
from gptjax.models.positions import sinusoidal
from gptjax.models.transformer import (
    Cache,
    Transformer,
    contexts_of_layers,
    init_decoding,
)


def cross_cycle(config: EncoderDecoderConfig) -> tuple[attention.Pattern, ...]:
    """The patterns that cross attention cycles through; ValueError as `attention_cycle`."""
    cycle = attention.parse(config.cross_attention)
    for pattern in cycle:
        pattern.check(config.context_length)
    return cycle


class EncoderDecoder(Configured):
    """Translates: an encoder of the source, and a decoder that reads it, with a head.

    Attributes:
      config: as of `Configured`.
      attend: what computes attention; the contract is `attention.attend`'s.
      constrain: `(x, axes) -> x`, where activations live; axes are names such as "batch".
    """

    config: EncoderDecoderConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    def setup(self) -> None:
        """Declares the parameters."""
        c = self.config
        table = nn.initializers.normal(c.d_model**-0.5)
        self.token_embedding = parameter(
            self, "token_embedding", table, (padded_vocab_size(c), c.d_model), jnp.float32
        )
        if c.positions == "learned":
            # As large as the embeddings of tokens are once they are multiplied.
            of_positions = nn.initializers.normal(1.0), (c.context_length, c.d_model), jnp.float32
            self.position_embedding = parameter(self, "position_embedding", *of_positions)
            self.source_position_embedding = parameter(
                self, "source_position_embedding", *of_positions
            )
        self.encoder = Transformer(
            c.encoder(), causal=False, attend=self.attend, constrain=self.constrain
        )
        self.trunk = Transformer(
            c, attend=self.attend, constrain=self.constrain, cross=cross_cycle(c)
        )
        self.head = LanguageModelHead(c)
        self.dropout = nn.Dropout(c.embedding_dropout)

    def encode(
        self, sources: jax.Array, lengths: jax.Array, *, deterministic: bool = True
    ) -> Context:
        """Encodes sentences.

        Args:
          sources: int32 [B, S], sentences at the front of rows.
          lengths: int32 [B], tokens of each; what follows them is padding, which nobody sees.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          What the decoder's cross attention attends to: hidden states [B, S, E] in `config.dtype`.

        Raises:
          ValueError: more tokens than the context holds.
        """
        self._check("sources", sources)
        segment_ids = jnp.where(jnp.arange(sources.shape[1])[None] < lengths[:, None], 0, -1)
        learned = self.source_position_embedding if self.config.positions == "learned" else None
        x = self._embedded(sources, learned, None, deterministic)
        hidden, _ = self.encoder(x, segment_ids=segment_ids, deterministic=deterministic)
        return Context(segment_ids, hidden)

    def contexts(self, sources: jax.Array, lengths: jax.Array) -> tuple[Context, ...]:
        """Keys and values of sentences for each layer's cross attention, to decode many tokens.

        Arguments are those of `encode`.
        """
        params = self.variables["params"]["trunk"]
        return contexts_of_layers(self.config, params, self.encode(sources, lengths))

    def hidden(
        self,
        inputs: jax.Array,
        *,
        context: Context | tuple[Context, ...],
        positions: jax.Array | None = None,
        cache: Cache | None = None,
        deterministic: bool = True,
    ) -> tuple[jax.Array, Cache | None]:
        """Hidden states of the target's tokens, under the encoded source.

        Args:
          inputs: int32 [B, T], tokens of the target.
          context: from `encode`, or with a cache from `contexts`.
          positions: int32 [B, T], with a cache: where the new keys go; negative ones are padding.
            Without: 0..T-1.
          cache: from `init_cache`, or None for a full forward pass.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          Hidden states [B, T, E] in `config.dtype`, and the cache with T more entries.

        Raises:
          ValueError: more tokens than the context holds.
        """
        self._check("tokens", inputs)
        learned = self.position_embedding if self.config.positions == "learned" else None
        x = self._embedded(inputs, learned, positions, deterministic)
        return self.trunk(
            x, context=context, positions=positions, cache=cache, deterministic=deterministic
        )

    def _check(self, name: str, tokens: jax.Array) -> None:
        length = self.config.context_length
        if tokens.shape[1] > length:
            raise ValueError(f"{name}: got {tokens.shape[1]} a row, expected at most {length}")

    def _embedded(
        self,
        tokens: jax.Array,
        learned: jax.Array | None,
        positions: jax.Array | None,
        deterministic: bool,
    ) -> jax.Array:
        """Embeddings [B, T, E] of tokens and of their positions, in `config.dtype`."""
        c = self.config
        at = jnp.arange(tokens.shape[1])[None] if positions is None else jnp.maximum(positions, 0)
        x = self.constrain(self.token_embedding, ("vocab", "embed"))[tokens]
        x = x.astype(jnp.float32) * math.sqrt(c.d_model)
        if learned is not None:
            x = x + self.constrain(learned, (None, "embed"))[at]
        elif c.positions == "sinusoidal":
            x = x + sinusoidal(at, c.d_model)
        x = self.dropout(x.astype(c.dtype), deterministic=deterministic)
        return self.constrain(x, ("batch", "sequence", "embed"))

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Hidden states [B, T, E] to logits over the padded vocabulary [B, T, V'], float32."""
        logits = self.head(hidden, self.token_embedding)
        return self.constrain(logits, ("batch", "sequence", "vocab"))

    def init_cache(self, batch: int, length: int, chunk: int | None = None) -> Cache:
        """Empty caches of the decoder; as of `GPT`."""
        return init_decoding(self.config, batch, length, jnp.dtype(self.config.dtype), chunk)

    def __call__(
        self,
        sources: jax.Array,
        tokens: jax.Array,
        lengths: jax.Array | None = None,
        *,
        deterministic: bool = True,
    ) -> jax.Array:
        """Logits [B, T, V] in float32 after each of the target's tokens; as `encode`, `hidden`."""
        if lengths is None:
            lengths = jnp.full(sources.shape[:1], sources.shape[1])
        context = self.encode(sources, lengths, deterministic=deterministic)
        hidden, _ = self.hidden(tokens, context=context, deterministic=deterministic)
        return self.logits(hidden)[..., : self.config.vocab_size]

    def decode(self, inputs: jax.Array, **options: Any) -> tuple[jax.Array, Cache | None]:
        """Logits [B, T, V] in float32 and the cache; arguments are those of `hidden`."""
        hidden, cache = self.hidden(inputs, **options)
        return self.logits(hidden)[..., : self.config.vocab_size], cache
