"""Changes of next-token logits: pure functions of one text's logits and the text so far.

A filter is a pytree with `(logits [V], text) -> logits [V]`; a sampler applies a tuple of them in
order, each text in a batch its own. Their numbers are arguments of the compiled program, so that
another temperature compiles nothing anew. To add one, make a dataclass a `pytree`, or wrap a
function in `jax.tree_util.Partial`.

    logits = TopK(40)(Temperature(0.8)(logits, text), text)
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.pytrees import pytree


@pytree
@dataclasses.dataclass(frozen=True)
class Text:
    """A text so far, or with a leading axis a batch: what filters and draws may depend on.

    Attributes:
      tokens: int32 [S], prompt included; what stands at `length` and after has no meaning.
      length: int32 scalar, tokens in the text.
      prompt: int32 scalar, tokens in its prompt.
      rng: key of its randomness.
    """

    tokens: jax.Array
    length: jax.Array
    prompt: jax.Array
    rng: jax.Array

    def counts(self, vocab_size: int, start: jax.Array | int = 0) -> jax.Array:
        """Count of each token in the text from position `start` on: int32 [V]."""
        at = jnp.arange(self.tokens.shape[0])
        tokens = jnp.where((at >= start) & (at < self.length), self.tokens, vocab_size)
        return jnp.zeros(vocab_size, jnp.int32).at[tokens].add(1, mode="drop")


Filter = Callable[[jax.Array, Text], jax.Array]


@pytree
@dataclasses.dataclass(frozen=True)
class Temperature:
    """Divides logits by `value`: below 1 sharpens the distribution, above 1 flattens it."""

    value: float

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps logits [V] to [V]."""
        del text
        return logits / self.value


@pytree
@dataclasses.dataclass(frozen=True)
class TopK:
    """Keeps the `k` most probable tokens, and what ties with the last of them.

    Source: Fan et al. 2018 (arXiv 1805.04833, section 5.2); GPT-2 samples with k = 40.
    """

    k: int

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps logits [V] to [V], -inf where dropped."""
        del text
        return _best(logits, lambda kept: jnp.sum(kept.astype(jnp.int32)) >= self.k)


@pytree
@dataclasses.dataclass(frozen=True)
class TopP:
    """Keeps the fewest most probable tokens that hold a share `p` together, and ties.

    Source: Holtzman et al. 2020 (arXiv 1904.09751, section 3.1), nucleus sampling.
    """

    p: float

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps logits [V] to [V], -inf where dropped."""
        del text
        probabilities = jax.nn.softmax(logits)
        share = jnp.maximum(self.p, jnp.finfo(jnp.float32).tiny)  # less is 0, which none hold
        return _best(logits, lambda kept: jnp.sum(probabilities, where=kept) >= share)


@pytree
@dataclasses.dataclass(frozen=True)
class MinP:
    """Drops tokens less probable than `p` times the most probable one.

    Source: Nguyen et al. 2024 (arXiv 2407.01082, section 3).
    """

    p: float

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps logits [V] to [V], -inf where dropped."""
        del text
        probabilities = jax.nn.softmax(logits)
        return jnp.where(probabilities < self.p * probabilities.max(), -jnp.inf, logits)


@pytree
@dataclasses.dataclass(frozen=True)
class RepetitionPenalty:
    """Divides positive logits of tokens in the text, prompt included, and multiplies negative ones.

    Source: Keskar et al. 2019 (arXiv 1909.05858, section 4.1), as `transformers` extends it to
    negative logits.
    """

    penalty: float

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps logits [V] to [V]."""
        changed = jnp.where(logits < 0, logits * self.penalty, logits / self.penalty)
        return jnp.where(text.counts(logits.shape[0]) > 0, changed, logits)


@pytree
@dataclasses.dataclass(frozen=True)
class CountPenalties:
    """Takes from the logit of each new token `presence`, and `frequency` for each occurrence.

    Source: OpenAI's API reference, presence_penalty and frequency_penalty; the prompt's tokens are
    not counted.
    """

    presence: float
    frequency: float

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps logits [V] to [V]."""
        counts = text.counts(logits.shape[0], text.prompt).astype(jnp.float32)
        return logits - self.presence * jnp.minimum(counts, 1) - self.frequency * counts


@pytree
@dataclasses.dataclass(frozen=True)
class LogitBias:
    """Adds `bias` [V] float32 to the logits; -inf bans a token."""

    bias: jax.Array | np.ndarray

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps logits [V] to [V]."""
        del text
        return logits + self.bias

    @classmethod
    def of(cls, bias: Mapping[int, float], banned: Sequence[int], vocab_size: int) -> "LogitBias":
        """Makes the biases from those of a few tokens, and from tokens that may not occur."""
        row = np.zeros(vocab_size, np.float32)
        for token, value in bias.items():
            row[token] = value
        row[list(banned)] = -np.inf
        return cls(row)


@pytree
@dataclasses.dataclass(frozen=True)
class ForcedTokens:
    """The first new tokens are `tokens` [n] int32; a negative one leaves its place free."""

    tokens: jax.Array | np.ndarray

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps logits [V] to [V], -inf but for a forced token."""
        new = text.length - text.prompt
        token = jnp.take(jnp.asarray(self.tokens), new, mode="fill", fill_value=-1)
        forced = jnp.where(jnp.arange(logits.shape[0]) == token, 0.0, -jnp.inf)
        return jnp.where(token >= 0, forced, logits)


@pytree
@dataclasses.dataclass(frozen=True)
class MinNewTokens:
    """Bans `stop_token` before `count` new tokens are there."""

    count: int
    stop_token: int

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps logits [V] to [V]."""
        early = text.length - text.prompt < self.count
        stop = jnp.arange(logits.shape[0]) == self.stop_token
        return jnp.where(early & stop, -jnp.inf, logits)


def _best(logits: jax.Array, enough: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """`logits` [V] float32, -inf but for the fewest largest, ties included, that are `enough`.

    Bisects the threshold on the bits of floats, whose order integers have: exact in 32 steps, and
    unlike a sort a few milliseconds faster for a vocabulary of 50,000.

    Args:
      logits: finite or -inf.
      enough: of kept tokens bool [V]; false for none, and true for more where true for fewer.
    """
    bits = jax.lax.bitcast_convert_type(logits, jnp.uint32)
    sign = jnp.uint32(1 << 31)
    keys = jnp.where(bits >= sign, ~bits, bits | sign)

    def halve(_: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends  # all from `low` on are enough, or low is 0; those from `high` on are not
        middle = low + (high - low) // 2
        good = enough(keys >= middle)
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    ends = jnp.uint32(0), jnp.uint32(0xFFFFFFFF)
    low, _ = jax.lax.fori_loop(0, 32, halve, ends)
    return jnp.where(keys >= low, logits, -jnp.inf)
