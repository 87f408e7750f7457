"""From next-token logits to the next token: filters, then a draw.

A filter is a pure function `(logits, texts) -> logits`; a sampler applies a tuple of them in
order. Filters are pytrees whose numbers are arguments of the compiled program, so that another
temperature compiles nothing anew: register a dataclass, or wrap a function in
`jax.tree_util.Partial`.

    sampler = make_sampler(temperature=0.8, top_k=40)
    tokens = sampler(logits, texts)   # int32 [B]
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Texts:
    """A batch of texts so far: what filters and draws may depend on.

    Attributes:
      tokens: int32 [B, S], prompt included; what stands at `lengths` and after has no meaning.
      lengths: int32 [B], tokens in each text.
      rngs: keys [B], the randomness of each text.
    """

    tokens: jax.Array
    lengths: jax.Array
    rngs: jax.Array


Filter = Callable[[jax.Array, Texts], jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Temperature:
    """Divides logits by `value`: below 1 sharpens the distribution, above 1 flattens it."""

    value: float

    def __call__(self, logits: jax.Array, texts: Texts) -> jax.Array:
        """Maps logits [B, V] to [B, V]."""
        del texts
        return logits / self.value


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TopK:
    """Keeps the `k` most probable tokens, and what ties with the last of them.

    Source: Fan et al. 2018 (arXiv 1805.04833, section 5.2); GPT-2 samples with k = 40.
    """

    k: int = dataclasses.field(metadata={"static": True})

    def __call__(self, logits: jax.Array, texts: Texts) -> jax.Array:
        """Maps logits [B, V] to [B, V], -inf where dropped."""
        del texts
        best, _ = jax.lax.top_k(logits, min(self.k, logits.shape[-1]))
        return jnp.where(logits >= best[:, -1:], logits, -jnp.inf)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TopP:
    """Keeps the fewest most probable tokens that hold a share `p` together, and ties.

    Source: Holtzman et al. 2020 (arXiv 1904.09751, section 3.1), nucleus sampling.
    """

    p: float

    def __call__(self, logits: jax.Array, texts: Texts) -> jax.Array:
        """Maps logits [B, V] to [B, V], -inf where dropped."""
        del texts
        ordered = jnp.sort(logits, axis=-1, descending=True)
        probabilities = jax.nn.softmax(ordered)
        share_before = jnp.cumsum(probabilities, axis=-1) - probabilities
        last = jnp.min(jnp.where(share_before < self.p, ordered, jnp.inf), -1, keepdims=True)
        return jnp.where(logits >= last, logits, -jnp.inf)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampler:
    """Picks the next token of each text: the most probable one, or a draw.

    Attributes:
      filters: applied in order to the logits first.
      greedy: whether to take the most probable token.
    """

    filters: tuple[Filter, ...] = ()
    greedy: bool = dataclasses.field(default=False, metadata={"static": True})

    def __call__(self, logits: jax.Array, texts: Texts) -> jax.Array:
        """Maps float32 logits [B, V] to tokens [B] int32.

        A draw depends on the text's own key and length alone, not on its neighbours.
        """
        for apply_filter in self.filters:
            logits = apply_filter(logits, texts)
        if self.greedy:
            return jnp.argmax(logits, axis=-1).astype(jnp.int32)
        rngs = jax.vmap(jax.random.fold_in)(texts.rngs, texts.lengths)
        return jax.vmap(jax.random.categorical)(rngs, logits).astype(jnp.int32)


def make_sampler(
    temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Sampler:
    """The sampler of the usual options, applied in the order of the arguments.

    Args:
      temperature: 0 for greedy decoding.
      top_k: tokens to keep, or None for all.
      top_p: share of probability to keep, or None for all.

    Raises:
      ValueError: a value out of range, or a filter of a greedy choice, which it cannot change.
    """
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: got {temperature}, expected 0 (greedy) or more")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: got {top_k}, expected 1 or more")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p: got {top_p}, expected above 0 and at most 1")
    if temperature == 0:
        if top_k is not None or top_p is not None:
            raise ValueError(
                "temperature: got 0 (greedy) with top_k or top_p, expected a positive one with them"
            )
        return Sampler(greedy=True)
    filters: list[Filter] = []
    if temperature != 1:
        filters.append(Temperature(float(temperature)))
    if top_k is not None:
        filters.append(TopK(top_k))
    if top_p is not None and top_p < 1:
        filters.append(TopP(float(top_p)))
    return Sampler(tuple(filters))
