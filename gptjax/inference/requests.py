r"""Requests of texts, as `Generator.submit` returns them.

request = generator.submit(prompt, max_new_tokens=100, stop=("\n",))
for token in request: ...         # or: for piece in request.text(): ...
request.cancel()
"""

import dataclasses
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.attention.cache import check_decodable
from gptjax.config import ModelConfig
from gptjax.finite import NotFinite
from gptjax.inference.filters import Text
from gptjax.inference.sampling import ALTERNATIVES, Sampler
from gptjax.inference.text import TextStream
from gptjax.models.transformer import attention_cycle
from gptjax.tokenization import Tokenizer


@dataclasses.dataclass(frozen=True)
class Order:
    """Checked arguments of a request.

    Attributes:
      prompt: int32 [n], n at least 1.
      limit: the length at which the text ends, prompt included.
      sampler: of its tokens.
      seed, sample_index: its randomness.
      stop_token: ends it, as its last token; None for none.
      stop: strings that end it; they are not shown.
      alternatives: how many of the most probable tokens are wanted beside each new one.
      images: those of the prompt, uint8 [N, H, W, C]; None: it has none.
    """

    prompt: np.ndarray
    limit: int
    sampler: Sampler
    seed: int
    sample_index: int
    stop_token: int | None
    stop: tuple[str, ...]
    alternatives: int = 0
    images: np.ndarray | None = None


def make_order(
    config: ModelConfig,
    prompt: np.ndarray,
    *,
    sample_index: int = 0,
    max_new_tokens: int | None = None,
    sampler: Sampler | None = None,
    seed: int = 0,
    stop_token: int | None = None,
    stop: Sequence[str] = (),
    sliding_window: bool = False,
    alternatives: int = 0,
    images: np.ndarray | None = None,
) -> Order:
    """The order for a continuation by a model of `config`; see `Generator.submit`.

    Raises:
      ValueError: for a prompt, numbers or a sampler that do not fit.
    """
    prompt = np.asarray(prompt)
    check_tokens("prompt", prompt, config.vocab_size)
    if max_new_tokens is not None:
        check_number("max_new_tokens", max_new_tokens, 1)
    for name, value in (("seed", seed), ("sample_index", sample_index)):
        check_number(name, value, 0)
    check_stop_token(stop_token, config.vocab_size)
    check_stop(stop)
    check_number("alternatives", alternatives, 0)
    if alternatives > ALTERNATIVES:
        raise ValueError(f"alternatives: got {alternatives}, expected at most {ALTERNATIVES}")
    if sliding_window:
        prompt = prompt[-_window(config.context_length, max_new_tokens) :]
    room = room_after(prompt, config)
    config.check_images(prompt, 0 if images is None else len(images))
    limit = prompt.size + (room if max_new_tokens is None else min(room, max_new_tokens))
    _check_decodable(config, prompt.size, limit)
    prompt = prompt.astype(np.int32)
    sampler, stop = sampler or Sampler(), tuple(stop)
    given = prompt, limit, sampler, seed, sample_index, stop_token, stop, alternatives
    return Order(*given, None if images is None or not len(images) else images)


def check_answerable(
    config: ModelConfig, prompts: Iterable[np.ndarray], max_new_tokens: int | None = None
) -> None:
    """Refuses prompts [n] that cannot be continued under attention that looks ahead.

    Raises:
      ValueError: an earlier token would have to see one that is not written yet.
    """
    room = config.context_length if max_new_tokens is None else max_new_tokens
    for size in {prompt.size for prompt in prompts}:
        _check_decodable(config, size, min(size + room, config.context_length))


def _check_decodable(config: ModelConfig, prompt: int, limit: int) -> None:
    for pattern in attention_cycle(config):
        check_decodable(pattern, prompt - 1, limit)


def check_tokens(name: str, tokens: np.ndarray, vocab_size: int) -> None:
    """Refuses what is no text of a vocabulary.

    Raises:
      ValueError: not integers [n], none of them, or one that is no token.
    """
    if tokens.ndim != 1 or not tokens.size or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(
            f"{name}: got {tokens.dtype}{list(tokens.shape)}, expected integers [n] with at least "
            "one token (end-of-text starts a text from nothing)"
        )
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        wrong = tokens[(tokens < 0) | (tokens >= vocab_size)][0]
        raise ValueError(f"{name}: got token {wrong}, expected 0 to {vocab_size - 1}")


def check_number(name: str, value: int, least: int) -> None:
    """Raises ValueError for what is no integer, below `least` or no int32."""
    whole = isinstance(value, int | np.integer)
    if not whole or value < least:
        raise ValueError(
            f"{name}: got {value}, expected {'' if whole else 'an integer of '}{least} or more"
        )
    if value >= 2**31:
        raise ValueError(f"{name}: got {value}, expected less than 2**31")


def check_stop_token(stop_token: int | None, vocab_size: int) -> None:
    """Raises ValueError for what is neither a token nor None."""
    whole = isinstance(stop_token, int | np.integer)
    if stop_token is not None and not (whole and 0 <= stop_token < vocab_size):
        raise ValueError(f"stop_token: got {stop_token}, expected 0 to {vocab_size - 1}")


def check_stop(stop: Sequence[str], has_tokenizer: bool = True) -> None:
    """Raises ValueError for what is no list of strings, or strings without a tokenizer."""
    if "" in stop or isinstance(stop, str):
        raise ValueError(f"stop: got {stop!r}, expected strings of one character or more")
    if stop and not has_tokenizer:
        raise ValueError(f"stop: got {stop} without a tokenizer, expected a generator with it")


def _window(context: int, max_new_tokens: int | None) -> int:
    """Number of a prompt's last tokens that leave room for new ones, half the context if unsaid."""
    return max(1, context - (context // 2 if max_new_tokens is None else max_new_tokens))


def room_after(prompt: np.ndarray, config: ModelConfig) -> int:
    """The most new tokens that fit in the context after `prompt`.

    Raises:
      ValueError: the prompt is longer than the context.
    """
    context = config.context_length
    if prompt.size > context:
        raise ValueError(
            f"prompt: got {prompt.size} tokens, expected at most {context}, the context length"
        )
    return context - prompt.size


def check_sampler(sampler: Sampler, vocab_size: int) -> None:
    """Meets a filter that fails before its text is among others.

    Raises:
      ValueError: what the filters make of logits are no logits.
    """
    logits = jax.ShapeDtypeStruct((vocab_size,), jnp.float32)
    text = jax.eval_shape(
        lambda: Text(
            jnp.zeros(vocab_size, jnp.int32), jnp.int32(1), jnp.int32(1), jax.random.key(0)
        )
    )
    made = jax.eval_shape(Sampler.filtered, sampler, logits, text)
    if (made.shape, made.dtype) != (logits.shape, logits.dtype):
        raise ValueError(
            f"sampler: got filters that make {made.dtype}{list(made.shape)} of logits "
            f"{list(logits.shape)}, expected float32 of the same shape"
        )


class QueueFull(ValueError):
    """A request for which there is neither a place in the batch nor one in the queue."""


def raise_failure(finished: str | None) -> None:
    """Raises RuntimeError for a text that "failed", NotFinite for one that is "not_finite"."""
    if finished == "failed":
        raise RuntimeError("this text was not finished: its batch failed, for another's error")
    if finished == "not_finite":
        raise NotFinite("logits")


class Request:
    """One text in generation. Iterating over it yields new tokens as they come.

    Attributes:
      order: what was asked for.
      tokens: new tokens so far.
      log_probs: of each of them, in nats, before its sampler's filters.
      alternatives: to each of them where they were ordered: token ids [K] and log-probabilities
        [K], the most probable first.
      finished: None while it is written; then "length", "stop_token", "stop", "cancelled" or, where
        it failed, "failed" or "not_finite".
    """

    def __init__(
        self, order: Order, proceed: Callable[["Request"], None], tokenizer: Tokenizer | None
    ):
        """`proceed` waits for more of a request's tokens."""
        self.order = order
        self.tokens: list[int] = []
        self.log_probs: list[float] = []
        self.alternatives: list[tuple[np.ndarray, np.ndarray]] = []
        self.finished: str | None = None
        self._proceed = proceed
        self._lock = threading.RLock()  # one thread may cancel what another one writes
        text = None if tokenizer is None else TextStream(tokenizer, order.stop, order.stop_token)
        self._text, self._decoded, self._unread = text, 0, ""  # text that is decoded, not yet read
        if order.prompt.size >= order.limit:
            self.finish("length")

    @property
    def writing(self) -> bool:
        """Whether the text still grows."""
        return self.finished is None

    def __iter__(self) -> Iterator[int]:
        """New tokens, from the first one on.

        Raises:
          RuntimeError, NotFinite: as of `raise_failure`.
        """
        shown = 0
        while True:
            ended = not self.writing  # asked first: what is there after that is all
            while shown < len(self.tokens):
                yield self.tokens[shown]
                shown += 1
            if ended:
                return raise_failure(self.finished)
            self._proceed(self)

    def text(self) -> Iterator[str]:
        """New text as it comes, whole characters only, up to a stop string. Once only.

        Raises:
          RuntimeError, ValueError: as of `raise_failure`, or the generator has no tokenizer.
        """
        if self._text is None:
            raise ValueError("text: got a generator without a tokenizer, expected one with it")
        while True:
            ended = not self.writing
            if piece := self.new_text():
                yield piece
            if ended:
                return raise_failure(self.finished)
            self._proceed(self)

    def result(self) -> np.ndarray:
        """All new tokens, int32 [n], once they are there; errors are those of iterating."""
        while self.writing:
            self._proceed(self)
        raise_failure(self.finished)
        return np.array(self.tokens, np.int32)

    @property
    def has_new_text(self) -> bool:
        """Whether `new_text` would give any."""
        with self._lock:
            self._decode()
            return bool(self._unread)

    def new_text(self) -> str:
        """What `text` would yield next, all of it that is there, without waiting for more."""
        with self._lock:
            self._decode()
            text, self._unread = self._unread, ""
        return text

    def cancel(self) -> None:
        """Ends it as it is; its place in the batch is free at the next step."""
        self.finish("cancelled")

    def add(
        self,
        tokens: np.ndarray,
        log_probs: np.ndarray,
        alternatives: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Takes new tokens [n], up to what ends the text, and their log-probabilities.

        `alternatives`: ids and log-probabilities [n, K] beside them.
        """
        new = zip(tokens.tolist(), log_probs.tolist(), strict=True)
        for i, (token, log_prob) in enumerate(new):
            with self._lock:
                if not self.writing:
                    return
                if alternatives is not None and self.order.alternatives:
                    self.alternatives.append((alternatives[0][i], alternatives[1][i]))
                self._add(token, log_prob)

    def _add(self, token: int, log_prob: float) -> None:
        if not math.isfinite(log_prob):
            return self.finish("not_finite")
        self.log_probs.append(log_prob)
        self.tokens.append(token)  # last: a reader in another thread counts by them
        if self.order.stop and self._decode():
            self.finish("stop")
        elif token == self.order.stop_token:
            self.finish("stop_token")
        elif self.order.prompt.size + len(self.tokens) >= self.order.limit:
            self.finish("length")

    def finish(self, reason: str) -> None:
        """Ends the text, unless it has ended; what was kept back of it is shown."""
        with self._lock:
            if self.writing:
                try:
                    self._decode()
                    if self._text is not None:
                        self._unread += self._text.finish()
                finally:
                    self.finished = reason

    def _decode(self) -> bool:
        """Makes text of new tokens, when one reads it; returns whether a stop string ended it."""
        if self._text is None:
            return False
        new, self._decoded = self.tokens[self._decoded :], len(self.tokens)
        if new:
            self._unread += self._text.push(np.array(new, np.int32))
        return self._text.stopped
