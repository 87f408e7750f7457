"""The decoder of GPT-1, GPT-2 and GPT-3: embeddings, trunk, language-model head.

The trunk is a Transformer, or the LSTM that GPT-1 compares it with.

GPT-1 (Radford et al. 2018), GPT-2 (Radford et al. 2019, section 2.3), GPT-3 (arXiv 2005.14165,
section 2.1). What they differ in are fields of `ModelConfig`.

    logits = GPT(config).apply({"params": params}, tokens)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.core import Tracer

from gptjax import attention
from gptjax.attention.cache import refuse_split
from gptjax.models.cross_attention import Context
from gptjax.models.heads import LanguageModelHead, padded_vocab_size
from gptjax.models.layers import Configured, identity
from gptjax.models.lstm import LSTM, init_states
from gptjax.models.parameter_shapes import parameter
from gptjax.models.positions import sinusoidal
from gptjax.models.transformer import Cache, Transformer, attention_cycle, init_decoding


class GPT(Configured):
    """A decoder: token embeddings, positions, trunk and head.

    Attributes:
      config: as of `Configured`.
      attend: what computes attention; the contract is `attention.attend`'s.
      constrain: `(x, axes) -> x`, where activations live; axes are names such as "batch".
    """

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
        self.trunk = self.made_trunk()
        self.head = LanguageModelHead(c)
        self.dropout = nn.Dropout(c.embedding_dropout)

    def made_trunk(self) -> Transformer | LSTM:
        """The layers, whose parameters are under `trunk`."""
        trunk = Transformer if self.config.trunk == "transformer" else LSTM
        return trunk(self.config, attend=self.attend, constrain=self.constrain)

    def hidden(
        self,
        inputs: jax.Array,
        *,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        cache: Cache | None = None,
        deterministic: bool = True,
        order: jax.Array | None = None,
        context: Context | tuple[Context, ...] | None = None,
    ) -> tuple[jax.Array, Cache | None]:
        """The trunk: hidden states of tokens or embeddings.

        Args:
          inputs: tokens [B, T] int32, or embeddings [B, T, E].
          positions: [B, T] int32 for the position embeddings or rotations, 0..T-1 by default.
            With a cache they also say where the new keys go; negative ones are padding.
          segment_ids: [B, T] int32; tokens attend within their own segment only.
          cache: from `transformer.init_decoding`, or None for a full forward pass.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.
          order: [B, T] int32, as of `Block`; None: that of the tokens.
          context: as of `Transformer`, of a trunk that has cross attention.

        Returns:
          Hidden states [B, T, E] in `config.dtype`, and the cache with T more entries.

        Raises:
          ValueError: more tokens than the context holds, or a position past it, where positions
            are known (under `jit` a learned table gives NaN there).
        """
        c = self.config
        length = inputs.shape[1]
        if length > c.context_length:
            raise ValueError(f"tokens: got {length} a row, expected at most {c.context_length}")
        if positions is not None and not isinstance(positions, Tracer):
            last = np.asarray(positions).max()
            if last >= c.context_length:
                raise ValueError(f"positions: got {last}, expected less than {c.context_length}")
        dtype = jnp.dtype(c.dtype)
        if inputs.ndim == 2:
            x = self.constrain(self.token_embedding, ("vocab", "embed"))[inputs]
        else:
            x = inputs.astype(jnp.float32)
        x = self._positioned(x, positions).astype(dtype)
        x = self.dropout(x, deterministic=deterministic)
        x = self.constrain(x, ("batch", "sequence", "embed"))
        if cache is not None and positions is not None and c.trunk == "transformer":
            for pattern, held in zip(attention_cycle(c), cache, strict=False):
                if pattern.looks_ahead:
                    refuse_split(pattern, held.positions, positions)
        given = {"order": order, "context": context}  # no LSTM has one
        others: dict[str, Any] = {name: x for name, x in given.items() if x is not None}
        return self.trunk(
            x,
            segment_ids=segment_ids,
            positions=positions,
            cache=cache,
            deterministic=deterministic,
            **others,
        )

    def _positioned(self, x: jax.Array, positions: jax.Array | None) -> jax.Array:
        """`x` [B, T, E] with what the model's kind of positions adds to embeddings."""
        c = self.config
        at = jnp.arange(x.shape[1])[None] if positions is None else positions
        if c.positions == "learned":
            table = self.constrain(self.position_embedding, (None, "embed"))
            if positions is None:
                return x + table[None, : x.shape[1]]
            # Past the table `take` gives NaN, where an index would give the last row.
            return x + jnp.take(table, jnp.maximum(at, 0), axis=0)
        return x + sinusoidal(at, c.d_model) if c.positions == "sinusoidal" else x

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Hidden states [B, T, E] to logits over the padded vocabulary [B, T, V'], float32."""
        logits = self.head(hidden, self.token_embedding)
        return self.constrain(logits, ("batch", "sequence", "vocab"))

    def init_cache(self, batch: int, length: int, chunk: int | None = None) -> Cache:
        """Empty caches of texts of up to `length` tokens, fed at most `chunk` at once; None: all.

        Keys and values have `config.dtype`; see `transformer.init_decoding`. An LSTM keeps a state
        of one size, `lstm.init_states`.
        """
        if self.config.trunk == "lstm":
            return init_states(self.config, batch)
        return init_decoding(self.config, batch, length, jnp.dtype(self.config.dtype), chunk)

    def __call__(self, inputs: jax.Array, **context: Any) -> jax.Array:
        """Logits [B, T, V] in float32; arguments are those of `hidden`, without a cache."""
        assert "cache" not in context, "call `decode`, which returns the cache"
        return self.decode(inputs, **context)[0]

    def decode(self, inputs: jax.Array, **context: Any) -> tuple[jax.Array, Cache | None]:
        """Logits [B, T, V] in float32 and the cache; arguments are those of `hidden`."""
        hidden, cache = self.hidden(inputs, **context)
        return self.logits(hidden)[..., : self.config.vocab_size], cache
