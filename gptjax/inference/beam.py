"""Beam search: the most probable continuations of prompts, found side by side.

Prompts of different lengths share a batch and one compiled loop. Each prompt is fed once; its
beams then start from copies of its cache and trade caches as they overtake one another. Scores,
the order of events and the rules for stopping are those of `transformers`, beam for beam.

    search = BeamSearch(model, params)
    best = search([prompt], num_beams=4, stop_token=0)[0][0].tokens

Source: Wu et al. 2016 (arXiv 1609.08144, section 7), without the coverage penalty, which needs an
encoder; `transformers` for the length penalty and early stopping.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.compiled import compiled
from gptjax.finite import NotFinite
from gptjax.inference import decoding
from gptjax.inference.filters import Filter, Text
from gptjax.inference.prefill import PIECE, Prefill, Prompts, pad_prompts
from gptjax.inference.requests import (
    check_number,
    check_sampler,
    check_stop,
    check_stop_token,
)
from gptjax.inference.sampling import Sampler
from gptjax.inference.text import StopStrings
from gptjax.models.decoder import Decoder
from gptjax.models.transformer import Cache
from gptjax.pytrees import pytree
from gptjax.tokenization import Tokenizer

NORMALIZATIONS = {"length": (0.0, 1.0), "gnmt": (5.0, 6.0)}  # a, b in ((a + n) / b) ** penalty
EARLY_STOPPING = (True, False, "never")
_STRETCH = 16  # new tokens of a search between two looks at whether it is still wanted


@pytree
@dataclasses.dataclass(frozen=True)
class Rules:
    """Rules of a search, as arguments of the compiled program.

    Attributes:
      stop_token: int32 scalar.
      penalty: float32 scalar, the exponent.
      added, divisor: float32 scalars, see `NORMALIZATIONS`.
      when_full: bool scalar, whether as many finished texts as beams are enough.
      to_limit: bool scalar, whether a text that grows is judged as if it grew to its limit.
    """

    stop_token: Any
    penalty: Any
    added: Any
    divisor: Any
    when_full: Any
    to_limit: Any

    def normalized(self, log_probs: jax.Array, count: jax.Array) -> jax.Array:
        """Log-probabilities as scores of texts with `count` new tokens."""
        length = (self.added + count.astype(jnp.float32)) / self.divisor
        return log_probs / length**self.penalty


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A continuation that was found.

    Attributes:
      tokens: int32 [n], the stop token included.
      score: sum of its tokens' log-probabilities, in nats, over the length penalty.
    """

    tokens: np.ndarray
    score: float


@pytree
@dataclasses.dataclass(frozen=True)
class Beams:
    """A search under way. Beams are sorted, the best first.

    Attributes:
      tokens: int32 [B, n, S], texts that grow, all of a row equally long.
      log_probs: float32 [B, n], of their new tokens; -inf where there is no such beam.
      found: int32 [B, n, S], the best finished texts.
      scores: float32 [B, n], theirs; -inf where there are fewer.
      lengths: int32 [B, n], theirs, without the prompt.
      open: bool [B], whether the search of each row goes on.
      count: int32 scalar, new tokens in the texts that grow.
      cache: of the B * n texts that grow, without their last tokens.
    """

    tokens: jax.Array
    log_probs: jax.Array
    found: jax.Array
    scores: jax.Array
    lengths: jax.Array
    open: jax.Array
    count: jax.Array
    cache: Cache


class BeamSearch:
    """Searches with one model; it holds compiled programs, so keep it."""

    def __init__(
        self,
        model: Decoder,
        params: Any,
        tokenizer: Tokenizer | None = None,
        *,
        batch_size: int = 8,
        piece: int = PIECE,
    ):
        """Makes `params` ready for decoding.

        Args:
          model: what writes.
          params: its parameters.
          tokenizer: its own; what stop strings are found with.
          batch_size: prompts that are searched at the same time.
          piece: most tokens of a prompt that are fed at once.

        Raises:
          ValueError: no batch, or parameters of another model.
        """
        check_number("batch_size", batch_size, 1)
        self._model, self._tokenizer, self._batch_size = model, tokenizer, batch_size
        self._params = decoding.decoding_params(model, params)
        self._prefill = Prefill(model, piece)
        self._begin = compiled(begin_search, static_argnames="num_beams")
        self._advance = compiled(
            advance_search, model, static_argnames="stop", donate_argnames="state"
        )

    def __call__(
        self,
        prompts: Sequence[np.ndarray],
        *,
        num_beams: int = 4,
        num_best: int = 1,
        max_new_tokens: int | None = None,
        stop_token: int | None = None,
        stop: Sequence[str] = (),
        length_penalty: float = 1.0,
        normalization: str = "length",
        early_stopping: bool | str = False,
        sampler: Sampler | None = None,
        unwanted: Callable[[], bool] = lambda: False,
        images: Sequence[np.ndarray | None] | None = None,
    ) -> list[list[Hypothesis]]:
        """The best continuations of each prompt that were found, the best first.

        Args:
          prompts: token ids [n], one or more; the result for each does not depend on the others.
          num_beams: texts that are followed at the same time; 1 is greedy decoding.
          num_best: continuations to return, at most `num_beams`; fewer where fewer exist.
          max_new_tokens: None, and what exceeds the context, is all that fits.
          stop_token: ends a text, as its last token; usually end-of-text.
          stop: strings that end a text, whose tokens count in its score; need a tokenizer.
          length_penalty: the exponent; 0 for none, above 0 favours long texts.
          normalization: "length" divides by n ** penalty, "gnmt" by ((5 + n) / 6) ** penalty.
          early_stopping: True ends with the first `num_beams` finished texts; False also where the
            best text that grows scores below all of them as long as it is now; "never" where it
            would at the greatest length too, if the penalty favours that.
          sampler: a greedy one, whose filters are applied to log-probabilities.
          unwanted: asked now and then; a search of which it says so ends with what it has found.
          images: of each prompt, see `pad_prompts`.

        Raises:
          ValueError: prompts, numbers or options that do not fit.
        """
        vocab = self._model.config.vocab_size
        check_number("num_beams", num_beams, 1)
        check_stop_token(stop_token, vocab)
        check_stop(stop, self._tokenizer is not None)
        if not 1 <= num_best <= num_beams:
            raise ValueError(f"num_best: got {num_best}, expected 1 to {num_beams}, the beams")
        if not math.isfinite(length_penalty):
            raise ValueError(f"length_penalty: got {length_penalty}, expected a finite number")
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization: got {normalization!r}, expected length or gnmt")
        if early_stopping not in EARLY_STOPPING:
            raise ValueError(f"early_stopping: got {early_stopping!r}, expected True, False, never")
        sampler = sampler or Sampler(greedy=True)
        if not sampler.greedy:
            raise ValueError("sampler: got one that draws, expected a greedy one for beam search")
        check_sampler(sampler, vocab)
        if not prompts:
            raise ValueError("prompts: got none, expected one or more")
        added, divisor = NORMALIZATIONS[normalization]
        rules = Rules(
            stop_token=np.int32(decoding.NEVER if stop_token is None else stop_token),
            penalty=np.float32(length_penalty),
            added=np.float32(added),
            divisor=np.float32(divisor),
            when_full=np.bool_(num_beams == 1 or early_stopping not in (False, "never")),
            to_limit=np.bool_(early_stopping == "never" and length_penalty > 0),
        )
        strings = StopStrings(self._tokenizer, tuple(stop)) if stop else None
        config, size = self._model.config, self._batch_size
        padded = [
            pad_prompts(prompts[part], max_new_tokens, config, images and images[part])
            for part in (slice(i, i + size) for i in range(0, len(prompts), size))
        ]
        results: list[list[Hypothesis]] = []
        for batch in padded:
            fed = batch.tokens, batch.lengths - 1
            cache = self._prefill(self._params, *fed, images=batch.images)
            batch = dataclasses.replace(batch, images=None)
            state = self._begin(batch, cache, num_beams=num_beams)
            until, longest = 0, int((batch.limits - batch.lengths).max())
            while until < longest and not unwanted() and state.open.any():
                until = min(until + _STRETCH, longest)
                asked = sampler.filters, rules, np.int32(until)
                state = self._advance(self._params, batch, state, *asked, stop=strings)
            found, scores, lengths = jax.device_get((state.found, state.scores, state.lengths))
            results += hypotheses(batch, found, scores, lengths, num_best)
        return results[: len(prompts)]


def hypotheses(
    batch: Prompts, found: np.ndarray, scores: np.ndarray, lengths: np.ndarray, num_best: int
) -> list[list[Hypothesis]]:
    """The texts of each row that were found; a prompt that fills the context has an empty one.

    Raises:
      NotFinite: a model's logits were not.
    """
    if np.isnan(scores).any():
        raise NotFinite("logits")
    results: list[list[Hypothesis]] = []
    for row, prompt in enumerate(batch.lengths.tolist()):
        ends = prompt + lengths[row]
        made = [
            Hypothesis(found[row, beam, prompt : ends[beam]], float(scores[row, beam]))
            for beam in range(num_best)
            if np.isfinite(scores[row, beam])
        ]
        results.append(made or [Hypothesis(np.zeros(0, np.int32), 0.0)])
    return results


def begin_search(prompts: Prompts, cache: Cache, *, num_beams: int) -> Beams:
    """The search before its first step; `cache` holds all but the last token of each prompt."""
    batch = prompts.tokens.shape[0]
    tokens = jnp.repeat(jnp.asarray(prompts.tokens)[:, None], num_beams, axis=1)
    nothing = jnp.full((batch, num_beams), -jnp.inf)
    return Beams(
        tokens=tokens,
        log_probs=nothing.at[:, 0].set(0.0),
        found=tokens,
        scores=nothing,
        lengths=jnp.zeros((batch, num_beams), jnp.int32),
        open=jnp.asarray(prompts.limits > prompts.lengths),
        count=jnp.int32(0),
        cache=_of_beams(cache, num_beams),
    )


def _of_beams(tree: Any, num_beams: int) -> Any:
    """Each row of the arrays as often as there are beams."""
    return jax.tree.map(lambda x: jnp.repeat(x, num_beams, axis=0), tree)


def advance_search(
    model: Decoder,
    params: Any,
    prompts: Prompts,
    state: Beams,
    filters: tuple[Filter, ...],
    rules: Rules,
    until: jax.Array | int,
    *,
    stop: StopStrings | None = None,
    context: Any = None,
) -> Beams:
    """The search after the steps that are left, or at `until` new tokens.

    `context` is what an `EncoderDecoder` translates, as its `contexts` give it for B sentences; all
    beams of a sentence read the same.
    """
    batch, num_beams, size = state.tokens.shape
    vocab, room = model.config.vocab_size, prompts.limits - prompts.lengths
    lengths = jnp.asarray(prompts.lengths)
    rows, ranks = jnp.arange(batch)[:, None], jnp.arange(2 * num_beams)[None]
    read = {} if context is None else {"context": _of_beams(context, num_beams)}

    def next_log_probs(state: Beams) -> tuple[jax.Array, Cache]:
        """Filtered log-probabilities [B, n, V] of each beam's next token, and the longer cache."""
        length = jnp.repeat(lengths + state.count, num_beams)
        tokens = state.tokens.reshape(-1, size)
        last = jnp.take_along_axis(tokens, length[:, None] - 1, axis=1)
        positions = jnp.where(jnp.repeat(state.open, num_beams), length - 1, -1)[:, None]
        logits, cache = decoding.decode(model, params, state.cache, last, positions, **read)
        keys = jnp.broadcast_to(jax.random.key(0), length.shape)  # for filters; none is drawn from
        texts = Text(tokens, length, jnp.repeat(lengths, num_beams), keys)
        log_probs = jax.nn.log_softmax(logits[:, 0])
        log_probs = jax.vmap(Sampler(filters).filtered)(log_probs, texts)
        return log_probs.reshape(batch, num_beams, vocab), cache

    def step(state: Beams) -> Beams:
        log_probs, cache = next_log_probs(state)
        total = (state.log_probs[:, :, None] + log_probs).reshape(batch, -1)
        # Each beam has one continuation at most that stops: as many others are left to go on.
        top, index = jax.lax.top_k(total, 2 * num_beams)
        parent, token = index // vocab, index % vocab
        at = (lengths + state.count)[:, None]
        tokens = state.tokens[rows, parent].at[rows, ranks, at].set(token)
        count = state.count + 1
        ends = (token == rules.stop_token) | (count >= room)[:, None]
        if stop is not None:
            ends |= jax.pure_callback(
                stop, jax.ShapeDtypeStruct(ends.shape, ends.dtype), tokens, lengths, count
            )

        new = jnp.where(ends & state.open[:, None], rules.normalized(top, count), -jnp.inf)
        merged = jnp.concatenate([state.scores, new[:, :num_beams]], axis=1)
        scores, kept = jax.lax.top_k(merged, num_beams)
        found = jnp.concatenate([state.found, tokens[:, :num_beams]], axis=1)[rows, kept]
        counts = jnp.full_like(state.lengths, count)
        lengths_found = jnp.concatenate([state.lengths, counts], axis=1)[rows, kept]

        log_probs, going = jax.lax.top_k(jnp.where(ends, -jnp.inf, top), num_beams)
        hope = rules.normalized(log_probs[:, 0], jnp.where(rules.to_limit, room, count))
        worst = scores[:, -1]
        goes_on = ~(hope <= worst) & (jnp.isneginf(worst) | ~rules.when_full)  # with NaN, too
        order = (rows * num_beams + parent[rows, going]).reshape(-1)
        return Beams(
            tokens=tokens[rows, going],
            log_probs=log_probs,
            found=found,
            scores=scores,
            lengths=lengths_found,
            open=state.open & goes_on & (count < room),
            count=count,
            cache=jax.tree.map(lambda x: x[order], cache),
        )

    return jax.lax.while_loop(lambda state: state.open.any() & (state.count < until), step, state)
