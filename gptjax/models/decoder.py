"""The protocol of a decoder: what training, decoding and scoring ask of a language model.

Any Linen module that has these members can be trained, sampled and judged; `GPT` is one. Methods
are called by their names, `model.apply({"params": params}, tokens, method="hidden")`.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax

from gptjax.config import ModelConfig
from gptjax.models.transformer import Cache


class Decoder(Protocol):
    """A language model: a trunk, and a head that gives logits over the vocabulary.

    Attributes:
      config: resolved; its context length, vocabulary, dtype and attention are read.
      attend: what computes attention; the contract is `attention.attend`'s.
      constrain: `(x, axes) -> x`, where activations live.
    """

    @property
    def config(self) -> ModelConfig: ...
    @property
    def attend(self) -> Callable[..., jax.Array]: ...
    @property
    def constrain(self) -> Callable[..., jax.Array]: ...

    def init(self, rngs: Any, *inputs: Any) -> Any:
        """Random variables, as of any Linen module."""
        ...

    def apply(self, variables: Any, *inputs: Any, **options: Any) -> Any:
        """Calls a method, named by `method`, with parameters, as of any Linen module."""
        ...

    def clone(self, **attributes: Any) -> Any:
        """The same model with other attributes, as of any Linen module."""
        ...

    def hidden(
        self,
        inputs: jax.Array,
        *,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        cache: Cache | None = None,
        deterministic: bool = True,
    ) -> tuple[jax.Array, Cache | None]:
        """Hidden states [B, T, E] of tokens [B, T] or embeddings [B, T, E], and the cache."""
        ...

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Float32 logits [B, T, V'] of hidden states, over the padded vocabulary."""
        ...

    def decode(self, inputs: jax.Array, **context: Any) -> tuple[jax.Array, Cache | None]:
        """Float32 logits [B, T, V] and the cache; arguments are those of `hidden`."""
        ...

    def init_cache(self, batch: int, length: int, chunk: int | None = None) -> Cache:
        """Empty caches of texts of up to `length` tokens, fed at most `chunk` at once."""
        ...
