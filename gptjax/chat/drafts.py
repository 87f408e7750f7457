"""Replies that are written, or will be: what policies give, and what draws them.

draft = generator.submit(prompt, seed=1)       # any `Writer` gives drafts
for piece in draft.text(): ...
finish_reason(draft)                           # "stop" or "length"
"""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from gptjax.data.dialogue.chat_format import Conversation
from gptjax.inference.requests import raise_failure

_FINISH_REASONS = {"stop_token": "stop", "stop": "stop", "length": "length"}


class Draft(Protocol):
    """A reply that is written, or will be once it is read.

    Attributes:
      tokens: of it so far, the stop token included.
      log_probs: of each, in nats, before the sampler's filters; none of beams.
      alternatives: to each, where they were asked for: ids [K] and log-probabilities [K].
      finished: None while it is written; then why it ended, as of `requests.Request`.
    """

    @property
    def tokens(self) -> list[int]: ...
    @property
    def log_probs(self) -> list[float]: ...
    @property
    def alternatives(self) -> list[tuple[np.ndarray, np.ndarray]]: ...
    @property
    def finished(self) -> str | None: ...

    def text(self) -> Iterator[str]:
        """New text as it comes; once only."""
        ...

    def cancel(self) -> None:
        """Ends it as it is."""
        ...


class Writer(Protocol):
    """What draws texts, as `Generator.submit` does."""

    @property
    def submit(self) -> Callable[..., Draft]: ...


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is to be answered.

    Attributes:
      prompt: [n] int32.
      stop_token: that ends the reply; None for none.
      banned: tokens that a reply never holds.
      messages: the prompt as a conversation, for what ranks replies; empty for plain text.
      max_new_tokens: of the reply; None: all that fit.
      stop: strings that end it.
      seed: of the draws.
      alternatives: tokens beside each new one.
      begun: the text with which the reply has begun at the end of the prompt.
      images: of the prompt, uint8 [N, H, W, C]; None: it has none.
    """

    prompt: np.ndarray
    stop_token: int | None = None
    banned: tuple[int, ...] = ()
    messages: Conversation = ()
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int = 0
    alternatives: int = 0
    begun: str = ""
    images: np.ndarray | None = None


def finish_reason(draft: Draft) -> str | None:
    """Why it ended, as OpenAI's API says it: stop, length; None while written or if cancelled.

    Raises:
      RuntimeError, NotFinite: as of `inference.requests.raise_failure`.
    """
    raise_failure(draft.finished)
    return _FINISH_REASONS.get(draft.finished or "")


@dataclasses.dataclass
class Written:
    """A reply that is there as a whole; attributes as of `Draft`, its text, and what it cost.

    Attributes:
      discarded: tokens of texts that were written beside it and not chosen.
    """

    shown: str
    tokens: list[int]
    log_probs: list[float] = dataclasses.field(default_factory=list)
    alternatives: list[tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=list)
    finished: str | None = None
    discarded: int = 0


class _Later:
    """One of several replies that are chosen together, when the first of them is read."""

    def __init__(self, chosen: Callable[[], Sequence[Written]], index: int, cancel: Any):
        self._chosen, self._index, self._cancel = chosen, index, cancel
        self._cancelled = False
        self._reply = Written("", [])

    @property
    def tokens(self) -> list[int]:
        return self._reply.tokens

    @property
    def log_probs(self) -> list[float]:
        return self._reply.log_probs

    @property
    def alternatives(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return self._reply.alternatives

    @property
    def finished(self) -> str | None:
        return "cancelled" if self._cancelled else self._reply.finished

    @property
    def discarded(self) -> int:
        return self._reply.discarded

    def text(self) -> Iterator[str]:
        if not self._cancelled:
            self._reply = self._chosen()[self._index]
            yield self._reply.shown

    def cancel(self) -> None:
        if self.finished is None:
            self._cancelled = True
            self._cancel()


def tokens_written(drafts: Sequence[Draft]) -> int:
    """Tokens that were written for replies, those of texts that were not chosen included."""
    discarded = sum(draft.discarded for draft in drafts if isinstance(draft, _Later))
    return discarded + sum(len(draft.tokens) for draft in drafts)


def together(
    choose: Callable[[], Sequence[Written]], count: int, cancel: Callable[[], Any]
) -> Sequence[Draft]:
    """`count` replies that one call of `choose` gives; `cancel` ends what it waits for."""
    lock, made = threading.Lock(), []

    def chosen() -> Sequence[Written]:
        with lock:  # threads may read them at the same time
            if not made:
                made.append(choose())
            return made[0]

    return [_Later(chosen, index, cancel) for index in range(count)]
