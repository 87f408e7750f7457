"""Generation with a key-value cache: texts grow token by token, inside one compiled loop.

A batch is an explicit state, `Decoding`. Each step feeds the last token of every running text,
which is the one token not in the cache yet, and appends the token that the sampler picks. Prompts
of different lengths share a batch: positions say which tokens are real, so that a text depends on
its prompt, the seed and its sample index, not on its neighbours. Lengths are padded to powers of
two: a few programs serve all of them.

    generator = Generator(model)
    texts = generator.generate(params, prompts, sampler=make_sampler(0.8), seed=1, stop_token=0)
    for new_tokens in generator.stream(params, [prompt]):
        ...
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.attention.cache import check_decodable
from gptjax.inference.sampling import Sampler, Texts
from gptjax.models.gpt import GPT
from gptjax.models.transformer import Cache, attention_cycle, init_decoding

_SMALLEST_BUCKET = 16  # tokens
_PIECE = 256  # tokens of a prompt that are fed at once
_NEVER = -1  # a stop token that no sampler picks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Decoding:
    """A batch of texts in generation.

    Attributes:
      texts: what is written so far.
      limits: int32 [B]; a text runs while its length is below. Its stop token lowers it.
      stop_token: int32 scalar, the token after which a text ends.
      cache: keys and values of every token but the last of each text.
    """

    texts: Texts
    limits: jax.Array
    stop_token: jax.Array
    cache: Cache

    @property
    def running(self) -> jax.Array:
        """Whether each text still grows: bool [B]."""
        return self.texts.lengths < self.limits


def start(
    model: GPT,
    params: Any,
    tokens: jax.Array,
    lengths: jax.Array,
    limits: jax.Array,
    stop_token: jax.Array,
    seed: jax.Array,
    sample_indices: jax.Array,
    *,
    prefix: int,
) -> Decoding:
    """The state before the first new token: prompts in the cache, but for their last tokens.

    Args:
      model: the decoder.
      params: its parameters.
      tokens: int32 [B, S], prompts at the front of rows; S is the most a text may grow to.
      lengths: int32 [B], tokens in each prompt, at least one.
      limits: int32 [B], the length at which each text stops, at most S.
      stop_token: int32 scalar.
      seed: int32 scalar.
      sample_indices: int32 [B]; (seed, sample index) is the randomness of a text.
      prefix: static; rows are fed up to here, `lengths - 1` or more.
    """
    batch, size = tokens.shape
    whole = any(pattern.looks_ahead for pattern in attention_cycle(model.config))
    piece = prefix if whole else min(prefix, _PIECE)
    dtype = jnp.dtype(model.config.dtype)
    cache = init_decoding(model.config, batch, size, dtype, None if whole else _PIECE)
    at = jnp.arange(-(-prefix // piece) * piece)[None]
    positions = jnp.where(at < lengths[:, None] - 1, at, -1)
    fed = jnp.pad(tokens, [(0, 0), (0, at.size)])[:, : at.size]

    def feed(cache: Cache, part: tuple[jax.Array, jax.Array]):
        return _feed(model, "hidden", params, *part, cache)[1], None

    def pieces(x: jax.Array) -> jax.Array:
        return x.reshape(batch, -1, piece).swapaxes(0, 1)

    cache, _ = jax.lax.scan(feed, cache, (pieces(fed), pieces(positions)))
    rngs = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), sample_indices)
    return Decoding(Texts(tokens, lengths, rngs), limits, stop_token, cache)


def next_logits(model: GPT, params: Any, state: Decoding) -> tuple[jax.Array, Cache]:
    """Float32 logits [B, V] of each text's next token, and the cache with the whole text in it.

    Those of texts that have ended have no meaning, and their caches stay as they are.
    """
    last = state.texts.lengths[:, None] - 1
    tokens = jnp.take_along_axis(state.texts.tokens, last, axis=1)
    positions = jnp.where(state.running[:, None], last, -1)
    logits, cache = _feed(model, "decode", params, tokens, positions, state.cache)
    return logits[:, 0], cache


def _feed(
    model: GPT, method: str, params: Any, tokens: jax.Array, positions: jax.Array, cache: Cache
) -> tuple[jax.Array, Cache]:
    """What `GPT.hidden` or `GPT.decode` makes of tokens [B, T], and the cache with them in it."""
    variables = {"params": params}
    made: Any = model.apply(variables, tokens, positions=positions, cache=cache, method=method)
    return made


def advance(
    model: GPT, params: Any, state: Decoding, sampler: Sampler, num_steps: jax.Array
) -> Decoding:
    """Appends up to `num_steps` (int32 scalar) tokens to each text, fewer where it ends."""

    def step(state: Decoding) -> Decoding:
        texts, running = state.texts, state.running
        logits, cache = next_logits(model, params, state)
        new = sampler(logits, texts)
        batch, size = texts.tokens.shape
        slots = jnp.where(running, texts.lengths, size)
        lengths = texts.lengths + running.astype(jnp.int32)
        return dataclasses.replace(
            state,
            texts=dataclasses.replace(
                texts,
                tokens=texts.tokens.at[jnp.arange(batch), slots].set(new, mode="drop"),
                lengths=lengths,
            ),
            limits=jnp.where(running & (new == state.stop_token), lengths, state.limits),
            cache=cache,
        )

    def unfinished(carry: tuple[jax.Array, Decoding]) -> jax.Array:
        done, state = carry
        return (done < num_steps) & jnp.any(state.running)

    def body(carry: tuple[jax.Array, Decoding]) -> tuple[jax.Array, Decoding]:
        done, state = carry
        return done + 1, step(state)

    return jax.lax.while_loop(unfinished, body, (jnp.zeros_like(num_steps), state))[1]


class Generator:
    """Generates with one model; it holds the compiled programs, so keep it."""

    def __init__(self, model: GPT):
        """`model`: of a resolved configuration."""
        self._config = model.config
        self._start = jax.jit(functools.partial(start, model), static_argnames="prefix")
        self._advance = jax.jit(functools.partial(advance, model), donate_argnames="state")

    def room(self, prompt: np.ndarray) -> int:
        """The most new tokens that fit in the context after `prompt`.

        Raises:
          ValueError: the prompt is longer than the context.
        """
        context = self._config.context_length
        if prompt.size > context:
            raise ValueError(
                f"prompt: got {prompt.size} tokens, expected at most {context}, the context length"
            )
        return context - prompt.size

    def stream(
        self,
        params: Any,
        prompts: Sequence[np.ndarray],
        *,
        max_new_tokens: int | None = None,
        sampler: Sampler | None = None,
        seed: int = 0,
        sample_indices: Sequence[int] | None = None,
        stop_token: int | None = None,
        chunk: int = 8,
    ) -> Iterator[list[np.ndarray]]:
        """Continues prompts, yielding new tokens as they come.

        Args:
          params: parameters of the model.
          prompts: token ids [n] each, at least one token and at most the context.
          max_new_tokens: for each prompt; None, and what exceeds the context, is all that fits.
          sampler: draws from the unfiltered distribution by default.
          seed: 0 or more, below 2**31.
          sample_indices: one for each prompt, 0, 1, 2, ... by default. Equal (prompt, seed,
            sample index) give equal texts.
          stop_token: ends a text, as its last token; usually end-of-text.
          chunk: most tokens of a text between two yields.

        Returns:
          An iterator of lists with the new tokens [0..chunk] int32 of each text.

        Raises:
          ValueError: at once, for prompts and numbers that do not fit.
        """
        prompts = [self._checked(np.asarray(prompt)) for prompt in prompts]
        if max_new_tokens is not None and max_new_tokens < 1:
            raise ValueError(f"max_new_tokens: got {max_new_tokens}, expected 1 or more")
        if not 0 <= seed < 2**31:
            raise ValueError(f"seed: got {seed}, expected 0 or more, below 2**31")
        indices = np.arange(len(prompts)) if sample_indices is None else np.array(sample_indices)
        if not prompts or len(indices) != len(prompts):
            raise ValueError(
                f"prompts: got {len(prompts)} with {len(indices)} sample indices, expected one or "
                "more, and as many indices"
            )
        lengths = np.array([prompt.size for prompt in prompts], np.int32)
        room = np.array([self.room(prompt) for prompt in prompts], np.int32)
        limits = lengths + (room if max_new_tokens is None else np.minimum(room, max_new_tokens))
        for pattern in attention_cycle(self._config):
            for length, limit in zip(lengths.tolist(), limits.tolist(), strict=True):
                check_decodable(pattern, length - 1, limit)
        tokens = np.zeros((len(prompts), self._bucket(limits.max())), np.int32)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[: prompt.size] = prompt
        state = self._start(
            params,
            tokens,
            lengths,
            limits,
            np.int32(_NEVER if stop_token is None else stop_token),
            np.int32(seed),
            indices.astype(np.int32),
            prefix=self._bucket(lengths.max() - 1),
        )
        return self._chunks(params, state, sampler or Sampler(), chunk)

    def generate(
        self, params: Any, prompts: Sequence[np.ndarray], **options: Any
    ) -> list[np.ndarray]:
        """The new tokens [n] int32 of each prompt; arguments and errors are those of `stream`."""
        chunks = list(self.stream(params, prompts, chunk=self._config.context_length, **options))
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    def _chunks(
        self, params: Any, state: Decoding, sampler: Sampler, chunk: int
    ) -> Iterator[list[np.ndarray]]:
        shown = jax.device_get(state.texts.lengths)
        running = True
        while running:
            state = self._advance(params, state, sampler, np.int32(chunk))
            tokens, lengths, limits = jax.device_get(
                (state.texts.tokens, state.texts.lengths, state.limits)
            )
            rows = zip(tokens, shown, lengths, strict=True)
            yield [row[begin:end] for row, begin, end in rows]
            shown, running = lengths, (lengths < limits).any()

    def _checked(self, prompt: np.ndarray) -> np.ndarray:
        vocab = self._config.vocab_size
        if prompt.ndim != 1 or not prompt.size or not np.issubdtype(prompt.dtype, np.integer):
            raise ValueError(
                f"prompt: got {prompt.dtype}{list(prompt.shape)}, expected integers [n] with at "
                "least one token (end-of-text starts a text from nothing)"
            )
        if prompt.min() < 0 or prompt.max() >= vocab:
            wrong = prompt[(prompt < 0) | (prompt >= vocab)][0]
            raise ValueError(f"prompt: got token {wrong}, expected 0 to {vocab - 1}")
        return prompt

    def _bucket(self, length: int) -> int:
        """`length` rounded up to a power of two, within the context."""
        rounded = 1 << max(int(length) - 1, _SMALLEST_BUCKET - 1).bit_length()
        return min(rounded, self._config.context_length)
