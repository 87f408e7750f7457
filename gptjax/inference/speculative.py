"""Speculative sampling: a small model drafts tokens, and the large one judges them all at once.

In a round the draft proposes a few tokens, one by one, and the target reads them in one chunk. Each
is kept with probability min(1, p / q), where p is the target's probability of it and q the
draft's; the first that is not is drawn anew from what p has more than q, and where all are kept one
more token is drawn. Texts are distributed exactly as the target's own, whatever the draft is; a
greedy text is the target's own. Rows of a batch advance each at its own pace, and the caches of
both models forget what was rejected.

    pair = SpeculativeGenerator(model, params, draft, draft_params)
    for text in pair.generate(prompts, sampler=make_sampler(0.8), seed=1):
        print(text.tokens, text.acceptance_rate)

Source: Leviathan et al. 2022 (arXiv 2211.17192, algorithm 1); Chen et al. 2023 (arXiv 2302.01318).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.attention.cache import rollback
from gptjax.compiled import compiled
from gptjax.finite import NotFinite
from gptjax.inference.decoding import NEVER, decode, decoding_params
from gptjax.inference.filters import Text
from gptjax.inference.prefill import PIECE, Prefill, pad_prompts
from gptjax.inference.requests import (
    check_number,
    check_sampler,
    check_stop_token,
)
from gptjax.inference.sampling import Sampler, draw, most_probable
from gptjax.models.decoder import Decoder
from gptjax.models.transformer import Cache
from gptjax.pytrees import pytree


@dataclasses.dataclass(frozen=True)
class Speculated:
    """A text, and how it came about.

    Attributes:
      tokens: int32 [n], new ones.
      rounds: chunks that the target read for it.
      judged: proposals in them up to the first rejected one, or the text's end.
      accepted: those that were kept.
    """

    tokens: np.ndarray
    rounds: int
    judged: int
    accepted: int

    @property
    def acceptance_rate(self) -> float:
        """The share of judged proposals that were kept, alpha of the paper; nan without any."""
        return self.accepted / self.judged if self.judged else float("nan")


@pytree
@dataclasses.dataclass(frozen=True)
class _Pair:
    """A batch of texts that two models write.

    Attributes:
      texts: what is written so far, [B, S] and [B].
      limits: int32 [B]; a text runs while its length is below. The stop token lowers it.
      rounds, judged, accepted: int32 [B], see `Speculated`.
      finite: bool [B], whether the target's logits were.
      cache: the target's, of all tokens but the last of each text.
      draft_cache: the draft's, of at least all tokens but the last two.
    """

    texts: Text
    limits: jax.Array
    rounds: jax.Array
    judged: jax.Array
    accepted: jax.Array
    finite: jax.Array
    cache: Cache
    draft_cache: Cache

    @property
    def running(self) -> jax.Array:
        """Whether each text still grows: bool [B]."""
        return self.texts.length < self.limits


class SpeculativeGenerator:
    """Generates with a target and its draft; it holds compiled programs, so keep it."""

    def __init__(
        self,
        model: Decoder,
        params: Any,
        draft: Decoder,
        draft_params: Any,
        *,
        num_proposals: int = 4,
        batch_size: int = 8,
        piece: int = PIECE,
    ):
        """Makes the parameters of both ready for decoding.

        Args:
          model: the target.
          params: its parameters.
          draft: a model of the same vocabulary, much faster.
          draft_params: its parameters.
          num_proposals: tokens that the draft proposes in a round, gamma of the paper.
          batch_size: texts that are written at the same time.
          piece: most tokens of a prompt that are fed at once.

        Raises:
          ValueError: the draft cannot propose to this target, a number is out of range, or
            parameters are another model's.
        """
        for name in ("vocab_size", "context_length"):
            got, expected = getattr(draft.config, name), getattr(model.config, name)
            if got != expected and (name == "vocab_size" or got < expected):
                raise ValueError(f"draft: got {name}={got}, expected {expected}, as the target's")
        for name, each in (("model", model), ("draft", draft)):
            if each.config.trunk == "lstm":
                raise ValueError(
                    f"{name}: got an LSTM, which cannot take tokens back, expected a Transformer"
                )
        for name, value in (("num_proposals", num_proposals), ("batch_size", batch_size)):
            check_number(name, value, 1)
        self._model, self._draft = model, draft
        self._params = decoding_params(model, params)
        self._draft_params = decoding_params(draft, draft_params)
        self._num_proposals, self._batch_size = num_proposals, batch_size
        self._prefill, self._draft_prefill = Prefill(model, piece), Prefill(draft, piece)
        self._write = compiled(_write, model, draft, static_argnames="num_proposals")

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        *,
        max_new_tokens: int | None = None,
        sampler: Sampler | None = None,
        seed: int = 0,
        stop_token: int | None = None,
    ) -> list[Speculated]:
        """Continues prompts to their ends.

        Args:
          prompts: token ids [n], one or more; (prompt, seed, place in the list) gives a text.
          max_new_tokens: None, and what exceeds the context, is all that fits.
          sampler: its filters are applied to both models; draws from the unfiltered distribution
            by default.
          seed: 0 or more, below 2**31.
          stop_token: ends a text, as its last token; usually end-of-text.

        Raises:
          ValueError: prompts, numbers or a sampler that do not fit, or logits that are not finite.
        """
        sampler = sampler or Sampler()
        sampler = sampler if sampler.noise else dataclasses.replace(sampler, greedy=True)
        check_sampler(sampler, self._model.config.vocab_size)
        if not prompts:
            raise ValueError("prompts: got none, expected one or more")
        check_number("seed", seed, 0)
        check_stop_token(stop_token, self._model.config.vocab_size)
        pad_prompts(prompts, max_new_tokens, self._draft.config)  # meets what the draft refuses
        size = self._batch_size
        parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        batches = [pad_prompts(part, max_new_tokens, self._model.config) for part in parts]
        results: list[Speculated] = []
        for part, batch in zip(parts, batches, strict=True):
            start = len(results)
            fed = batch.tokens, batch.lengths - 1, self._num_proposals + 1
            rows = start + np.arange(batch.lengths.size, dtype=np.int32)
            rngs = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), rows)
            none = jnp.zeros(rows.shape, jnp.int32)
            lengths = jnp.asarray(batch.lengths)
            state = _Pair(
                Text(jnp.asarray(batch.tokens), lengths, lengths, rngs),
                jnp.asarray(batch.limits),
                none,
                none,
                none,
                jnp.ones(rows.shape, bool),
                self._prefill(self._params, *fed),
                self._draft_prefill(self._draft_params, *fed),
            )
            stop = np.int32(NEVER if stop_token is None else stop_token)
            both = self._params, self._draft_params
            state = self._write(*both, state, sampler, stop, num_proposals=self._num_proposals)
            tokens, ends = jax.device_get((state.texts.tokens, state.texts.length))
            if not jax.device_get(state.finite).all():
                raise NotFinite("logits")
            counts = jax.device_get((state.rounds, state.judged, state.accepted))
            results += [
                Speculated(tokens[row, prompt.size : ends[row]], *(int(n[row]) for n in counts))
                for row, prompt in enumerate(map(np.asarray, part))
            ]
        return results


def _write(
    model: Decoder,
    draft: Decoder,
    params: Any,
    draft_params: Any,
    state: _Pair,
    sampler: Sampler,
    stop_token: jax.Array,
    *,
    num_proposals: int,
) -> _Pair:
    """Takes all texts to their ends."""
    batch, size = state.texts.tokens.shape
    rows, places = jnp.arange(batch)[:, None], jnp.arange(num_proposals + 1)[None]

    def propose(state: _Pair) -> tuple[jax.Array, jax.Array, Cache]:
        """Tokens [B, S] with proposals after each text, q [B, n, V], and the draft's cache."""

        def one(i: jax.Array, tokens: jax.Array, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
            texts = dataclasses.replace(state.texts, tokens=tokens, length=state.texts.length + i)
            filtered = jax.vmap(sampler.filtered)(logits, texts)
            keys = _keys(state.texts, 0)
            token = _draw(jax.vmap(jax.random.fold_in, (0, None))(keys, i), filtered, sampler)
            slots = state.texts.length[:, None] + i
            return tokens.at[rows, slots].set(token[:, None], mode="drop"), filtered

        # The last two tokens: where all proposals were kept, the draft has not read its last one.
        at = _positions(state, jnp.arange(-2, 0)[None])
        tokens, cache = state.texts.tokens, state.draft_cache
        read = tokens[rows, jnp.maximum(at, 0)]
        logits, cache = decode(draft, draft_params, cache, read, at)
        tokens, filtered = one(jnp.int32(0), tokens, logits[:, 1])

        def more(carry: tuple[jax.Array, Cache], i: jax.Array) -> Any:
            tokens, cache = carry
            at = _positions(state, jnp.full((1, 1), i - 1))
            read = tokens[rows, jnp.maximum(at, 0)]
            logits, cache = decode(draft, draft_params, cache, read, at)
            tokens, filtered = one(i, tokens, logits[:, 0])
            return (tokens, cache), filtered

        (tokens, cache), others = jax.lax.scan(more, (tokens, cache), jnp.arange(1, num_proposals))
        return tokens, jnp.concatenate([filtered[:, None], jnp.moveaxis(others, 0, 1)], 1), cache

    def step(state: _Pair) -> _Pair:
        texts, running = state.texts, state.running
        tokens, q_logits, draft_cache = propose(state)
        at = _positions(state, places - 1)
        read = tokens[rows, jnp.maximum(at, 0)]
        logits, cache = decode(model, params, state.cache, read, at)
        p_logits = _filtered_along(sampler, logits, dataclasses.replace(texts, tokens=tokens))
        proposals = tokens[rows, jnp.minimum(texts.length[:, None] + places[:, :-1], size - 1)]
        kept, last = _judge(sampler, texts, proposals, p_logits, q_logits)

        new = jnp.where(places < kept[:, None], jnp.pad(proposals, ((0, 0), (0, 1))), last[:, None])
        stops = (new == stop_token) & (places <= kept[:, None])
        until_stop = jnp.where(stops.any(1), jnp.argmax(stops, axis=1) + 1, num_proposals + 2)
        until_stop = until_stop.astype(jnp.int32)
        count = jnp.minimum(jnp.minimum(kept + 1, until_stop), state.limits - texts.length)
        count = jnp.where(running, count, 0)
        length = texts.length + count
        slots = jnp.where(places < count[:, None], texts.length[:, None] + places, size)
        judged = jnp.minimum(jnp.minimum(kept + 1, num_proposals), count)
        return _Pair(
            dataclasses.replace(
                texts, tokens=texts.tokens.at[rows, slots].set(new, mode="drop"), length=length
            ),
            jnp.where(running & (until_stop <= count), length, state.limits),
            state.rounds + running.astype(jnp.int32),
            state.judged + judged,
            state.accepted + jnp.minimum(kept, count),
            state.finite & (jnp.isfinite(logits).all((1, 2)) | ~running),
            rollback(cache, length - 1),
            rollback(draft_cache, length - 1),
        )

    return jax.lax.while_loop(lambda state: state.running.any(), step, state)


def _judge(
    sampler: Sampler, texts: Text, proposals: jax.Array, p_logits: jax.Array, q_logits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Decides how many proposals of each text are kept, and draws the token after them.

    Args:
      sampler: greedy or not.
      texts: [B], for their randomness.
      proposals: int32 [B, n].
      p_logits: the target's, filtered, [B, n + 1, V].
      q_logits: the draft's, filtered, [B, n, V].

    Returns:
      int32 [B], 0 to n, and int32 [B].
    """
    batch, count = proposals.shape
    rows, places = jnp.arange(batch)[:, None], jnp.arange(count)[None]
    if sampler.greedy:
        best = jax.vmap(jax.vmap(most_probable))(p_logits)
        keep = proposals == best[:, :count]
        kept = jnp.cumprod(keep.astype(jnp.int32), axis=1).sum(1)
        return kept, best[jnp.arange(batch), kept]
    p, q = jax.nn.softmax(p_logits), jax.nn.softmax(q_logits)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (count,)))(_keys(texts, 1))
    keep = uniform * q[rows, places, proposals] < p[rows, places, proposals]
    kept = jnp.cumprod(keep.astype(jnp.int32), axis=1).sum(1)
    all_p = p[jnp.arange(batch), kept]
    rejected_q = jnp.pad(q, ((0, 0), (0, 1), (0, 0)))[jnp.arange(batch), kept]
    rest = jnp.maximum(all_p - rejected_q, 0.0)
    # Only rounding rejects a token where p and q are the same: nothing is left over then.
    rest = jnp.where(rest.sum(1, keepdims=True) > 0, rest, all_p)
    return kept, _draw(_keys(texts, 2), jnp.log(rest), sampler)


def _positions(state: _Pair, offsets: jax.Array) -> jax.Array:
    """Text positions at `offsets` [1, n] from each text's end; -1 past its limit, or no text."""
    at = state.texts.length[:, None] + offsets
    return jnp.where(state.running[:, None] & (at >= 0) & (at < state.limits[:, None]), at, -1)


def _filtered_along(sampler: Sampler, logits: jax.Array, texts: Text) -> jax.Array:
    """Logits [B, n, V], filtered, of the next token of each text when 0, 1, ... longer."""

    def one(logits: jax.Array, text: Text, more: jax.Array) -> jax.Array:
        return sampler.filtered(logits, dataclasses.replace(text, length=text.length + more))

    more = jnp.arange(logits.shape[1])
    return jax.vmap(jax.vmap(one, (0, None, 0)), (0, 0, None))(logits, texts, more)


def _keys(texts: Text, purpose: int) -> jax.Array:
    """The key [B] of each text, in the round that starts at its length, for one purpose."""

    def one(rng: jax.Array, length: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(rng, length), purpose)

    return jax.vmap(one)(texts.rng, texts.length)


def _draw(keys: jax.Array, logits: jax.Array, sampler: Sampler) -> jax.Array:
    """A token [B] int32 of each row of filtered logits [B, V]."""
    if sampler.greedy:
        return jax.vmap(most_probable)(logits)
    return jax.vmap(draw)(keys, logits)
