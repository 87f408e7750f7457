"""The next token of each text in a batch: filters of its logits, then a draw or the best.

sampler = make_sampler(temperature=0.8, top_k=40)
token = sampler(logits, text)   # one text's
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.inference.filters import (
    CountPenalties,
    Filter,
    ForcedTokens,
    LogitBias,
    MinNewTokens,
    MinP,
    RepetitionPenalty,
    Temperature,
    Text,
    TopK,
    TopP,
)
from gptjax.pytrees import STATIC, pytree

# Logits times or over less or more might be no float32, nor many penalties together.
_LEAST, _MOST = 1e-30, 1e30
_MOST_TOKENS = 2**31 - 1
ALTERNATIVES = 20  # most probable tokens that are kept beside a new one, where any are


@pytree
@dataclasses.dataclass(frozen=True)
class Sampler:
    """Picks the next token of a text: the most probable one, or a draw.

    Attributes:
      filters: applied in order to the logits first.
      noise: 1 for a draw, 0 for the most probable token: a number, so that both are one program.
      greedy: whether to take the most probable token, by a program that draws no noise.
    """

    filters: tuple[Filter, ...] = ()
    noise: float = 1.0
    greedy: bool = dataclasses.field(default=False, metadata=STATIC)

    def filtered(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps float32 logits [V] to those that are drawn from."""
        for apply_filter in self.filters:
            logits = apply_filter(logits, text)
        return logits

    def __call__(self, logits: jax.Array, text: Text) -> jax.Array:
        """Maps float32 logits [V] to a token, int32.

        A draw depends on the text's own key and length alone, not on its neighbours.
        """
        logits = self.filtered(logits, text)
        if self.greedy:
            return most_probable(logits)
        return draw(jax.random.fold_in(text.rng, text.length), logits, self.noise)


@pytree
@dataclasses.dataclass(frozen=True)
class RowSamplers:
    """The samplers of a batch's rows, one program for each kind among them.

    Attributes:
      kinds: a sampler of each kind, every number with a leading axis of rows.
      kind: int32 [B], which of them is a row's.
    """

    kinds: tuple[Sampler, ...]
    kind: np.ndarray

    def __call__(self, logits: jax.Array, texts: Text) -> jax.Array:
        """Maps float32 logits [B, V] to tokens [B] int32."""
        picked = [jax.vmap(Sampler.__call__)(kind, logits, texts) for kind in self.kinds]
        tokens = picked[0]
        for i, others in enumerate(picked[1:], start=1):
            tokens = jnp.where(self.kind == i, others, tokens)
        return tokens


@pytree
@dataclasses.dataclass(frozen=True)
class Alternatives:
    """The most probable tokens at each place, the best first, before samplers' filters.

    Attributes:
      tokens: int32 [B, S, K].
      log_probs: float32 [B, S, K], in nats.
    """

    tokens: jax.Array
    log_probs: jax.Array

    @classmethod
    def none(cls, batch: int, size: int, vocab_size: int) -> "Alternatives":
        """Places for `ALTERNATIVES`, or as many as the vocabulary has, of texts [B, S]."""
        shape = (batch, size, min(ALTERNATIVES, vocab_size))
        return cls(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32))

    def with_best(self, rows: jax.Array, slots: jax.Array, log_probs: jax.Array) -> "Alternatives":
        """With the best of `log_probs` [B, V] at `slots` [B] of `rows` [B]."""
        best, tokens = jax.lax.top_k(log_probs, self.tokens.shape[2])
        return Alternatives(
            self.tokens.at[rows, slots].set(tokens.astype(jnp.int32), mode="drop"),
            self.log_probs.at[rows, slots].set(best, mode="drop"),
        )


def by_row(samplers: Sequence[Sampler | None]) -> RowSamplers:
    """The samplers of rows; None where a row has no text."""
    first: dict[Hashable, Sampler] = {}
    for sampler in samplers:
        if sampler is not None:
            first.setdefault(kind_of(sampler), sampler)
    if not first:
        first[kind_of(Sampler())] = Sampler()
    # One program for the same kinds, in whichever rows they are.
    first = {kind: first[kind] for kind in sorted(first, key=repr)}
    number = {kind: i for i, kind in enumerate(first)}
    kind = [0 if sampler is None else number[kind_of(sampler)] for sampler in samplers]

    def rows(i: int, example: Sampler) -> Sampler:
        own = [
            example if sampler is None or kind[row] != i else sampler
            for row, sampler in enumerate(samplers)
        ]
        return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *own)

    kinds = tuple(rows(i, example) for i, example in enumerate(first.values()))
    return RowSamplers(kinds, np.array(kind, np.int32))


def kind_of(sampler: Sampler) -> Hashable:
    """Key of the program that a sampler needs: its filters, and the shapes of their numbers."""
    leaves, structure = jax.tree.flatten(sampler)
    return structure, tuple((np.shape(leaf), np.result_type(leaf)) for leaf in leaves)


def draw(rng: jax.Array, logits: jax.Array, noise: jax.Array | float = 1.0) -> jax.Array:
    """The draw from float32 logits [V] that `jax.random.categorical` makes, int32.

    In half its time on a CPU, see `most_probable`. With a `noise` of 0 it is the most probable one.
    """
    return most_probable(logits + noise * jax.random.gumbel(rng, logits.shape, logits.dtype))


def most_probable(logits: jax.Array) -> jax.Array:
    """The argmax of logits [V], int32, which as two reductions a CPU does in vectors."""
    tokens = jnp.arange(logits.size, dtype=jnp.int32)
    return jnp.min(jnp.where(logits < jnp.max(logits), logits.size - 1, tokens))


def make_sampler(
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    *,
    logit_bias: Mapping[int, float] | None = None,
    banned_tokens: Sequence[int] = (),
    forced_tokens: Sequence[int] = (),
    min_new_tokens: int = 0,
    stop_token: int | None = None,
    vocab_size: int | None = None,
) -> Sampler:
    """The sampler of the usual options: penalties, biases and what is forced, then the rest.

    Args:
      temperature: 0 for greedy decoding.
      top_k: tokens to keep, or None for all.
      top_p: share of probability to keep, or None for all.
      min_p: least probability to keep, as a share of the greatest, or None for all.
      repetition_penalty: above 1 makes tokens of the text less probable.
      presence_penalty: taken from the logits of tokens that are new in the text.
      frequency_penalty: the same for each time one occurs.
      logit_bias: what is added to the logits of tokens.
      banned_tokens: never drawn.
      forced_tokens: the first new tokens.
      min_new_tokens: before which `stop_token` is not drawn.
      stop_token: needed by `min_new_tokens`.
      vocab_size: V, needed by options that name tokens.

    Raises:
      ValueError: a value out of range, nothing left to draw, or a filter of a greedy choice, which
        it cannot change.
    """
    drawn = _LEAST <= temperature <= _MOST
    _check_range(
        "temperature", temperature, drawn or temperature == 0, "0 (greedy) or 1e-30 to 1e30"
    )
    _check_range("top_k", top_k, top_k is None or top_k >= 1, "1 or more")
    _check_range("top_p", top_p, top_p is None or 0 < top_p <= 1, "above 0 and at most 1")
    _check_range("min_p", min_p, min_p is None or 0 <= min_p < 1, "0 or more, below 1")
    fits = _LEAST <= repetition_penalty <= _MOST
    _check_range("repetition_penalty", repetition_penalty, fits, "1e-30 to 1e30")
    for name, value in (("presence", presence_penalty), ("frequency", frequency_penalty)):
        _check_range(f"{name}_penalty", value, abs(value) <= _MOST, "-1e30 to 1e30")
    _check_range("min_new_tokens", min_new_tokens, min_new_tokens >= 0, "0 or more")
    if temperature == 0 and (top_k, top_p, min_p) != (None, None, None):
        raise ValueError(
            "temperature: got 0 (greedy) with top_k, top_p or min_p, expected a positive one with "
            "them"
        )
    if min_new_tokens and stop_token is None:
        raise ValueError(f"min_new_tokens: got {min_new_tokens} without stop_token, expected both")
    named = [*(logit_bias or {}), *banned_tokens, *forced_tokens]
    if stop_token is not None:
        named.append(stop_token)
    if named:
        _check_tokens(named, vocab_size)
    for token, bias in (logit_bias or {}).items():
        if not (abs(bias) <= _MOST or bias == -math.inf):
            raise ValueError(
                f"logit_bias: got {bias} for token {token}, expected -1e30 to 1e30, or -inf"
            )
    banned = {*banned_tokens, *(t for t, bias in (logit_bias or {}).items() if bias == -math.inf)}
    early = {stop_token} if min_new_tokens else set()
    if named and len(banned | early) == vocab_size:
        beside = (
            " but the stop token, which min_new_tokens bans" if banned != banned | early else ""
        )
        raise ValueError(f"banned_tokens: got all tokens{beside}, expected one or more to be left")
    if set(banned_tokens) & set(forced_tokens):
        token = min(set(banned_tokens) & set(forced_tokens))
        raise ValueError(f"forced_tokens: got {token}, which is banned, expected another")

    filters: list[Filter] = []
    if repetition_penalty != 1:
        filters.append(RepetitionPenalty(float(repetition_penalty)))
    if presence_penalty or frequency_penalty:
        filters.append(CountPenalties(float(presence_penalty), float(frequency_penalty)))
    if logit_bias or banned_tokens:
        assert vocab_size is not None
        filters.append(LogitBias.of(logit_bias or {}, banned_tokens, vocab_size))
    if min_new_tokens:
        assert stop_token is not None
        filters.append(MinNewTokens(min_new_tokens, stop_token))
    if forced_tokens:
        filters.append(ForcedTokens(np.array(forced_tokens, np.int32)))
    if temperature not in (0, 1):
        filters.append(Temperature(float(temperature)))
    if top_k is not None:
        filters.append(TopK(min(top_k, _MOST_TOKENS)))
    if top_p is not None and top_p < 1:
        filters.append(TopP(float(top_p)))
    if min_p:
        filters.append(MinP(float(min_p)))
    return Sampler(tuple(filters), greedy=temperature == 0)


def alike_sampler(
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    *,
    logit_bias: Mapping[int, float] | None = None,
    banned_tokens: Sequence[int] = (),
    vocab_size: int,
) -> Sampler:
    """As `make_sampler`, whose draws it makes, but of one of four kinds whatever is given.

    A batch of many kinds of samplers is a program for each set of kinds: a server's requests would
    wait for a compilation each time that another set comes together. Here an option that is not
    given is a number that changes nothing. What costs passes over the vocabulary makes the kinds:
    with and without penalties, with and without top_k, top_p, min_p.

    Raises:
      ValueError: see `make_sampler`.
    """
    given = {"logit_bias": logit_bias, "banned_tokens": banned_tokens, "vocab_size": vocab_size}
    penalties = (repetition_penalty, presence_penalty, frequency_penalty)
    make_sampler(temperature, top_k, top_p, min_p, *penalties, **given)  # refuses what is wrong
    filters: list[Filter] = []
    if penalties != (1, 0, 0):
        filters += [
            RepetitionPenalty(float(repetition_penalty)),
            CountPenalties(float(presence_penalty), float(frequency_penalty)),
        ]
    filters += [
        LogitBias.of(logit_bias or {}, banned_tokens, vocab_size),
        Temperature(float(temperature) or 1.0),
    ]
    if (top_k, top_p, min_p) != (None, None, None):
        nucleus = 2.0 if top_p is None or top_p == 1 else float(top_p)  # none holds 2: all are kept
        filters += [
            TopK(_MOST_TOKENS if top_k is None else min(top_k, _MOST_TOKENS)),
            TopP(nucleus),
            MinP(float(min_p or 0)),
        ]
    return Sampler(tuple(filters), noise=float(temperature != 0))


def _check_range(name: str, value: float | None, fits: bool, allowed: str) -> None:
    if value is not None and not (fits and math.isfinite(value)):
        raise ValueError(f"{name}: got {value}, expected {allowed}")


def _check_tokens(tokens: Sequence[int], vocab_size: int | None) -> None:
    if vocab_size is None:
        raise ValueError("vocab_size: got none with options that name tokens, expected it")
    for token in tokens:
        if not 0 <= token < vocab_size:
            raise ValueError(f"token: got {token}, expected 0 to {vocab_size - 1}")
