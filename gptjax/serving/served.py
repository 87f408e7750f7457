"""The models that a server has, by name, and what each needs besides its parameters.

models = Models([Served(ChatModel.load(workdir), limits)])
served = models.get("sft")
"""

import asyncio
import dataclasses
import functools
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from gptjax.chat.chat_model import ChatModel
from gptjax.chat.filters.chain import FilterChain
from gptjax.chat.moderation import Moderator
from gptjax.serving.engine import Engine
from gptjax.serving.errors import APIError, context_exceeded, overloaded

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes:
      body_bytes: of a request.
      messages: of a conversation.
      pictures: of a conversation.
      prompts: of one request to /v1/completions, /v1/embeddings and /v1/moderations.
      prompt_tokens: of a prompt that is read; None: as many as the model's context has.
      choices: texts of one request, `n` or `best_of` of each prompt.
      beams: of a search.
      seconds: that a reply may take; it ends as it is then.
      waiting: requests that wait for a place of a model's batch, or for its searches.
    """

    body_bytes: int = 1 << 20
    messages: int = 500
    pictures: int = 16
    prompts: int = 128
    prompt_tokens: int | None = None
    choices: int = 128
    beams: int = 16
    seconds: float = 600.0
    waiting: int = 64


class Served:
    """A model with its engine, and a thread for what does not join the batch."""

    def __init__(self, model: ChatModel, limits: Limits):
        self.model, self.limits = model, limits
        self.engine = Engine(model.generator)
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._choosers = ThreadPoolExecutor(
            model.generator.slots + limits.waiting, thread_name_prefix="choose"
        )
        self._waiting, self._lock = 0, threading.Lock()
        self._works: set[Future[Any]] = set()

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.model.name

    async def aside(self, work: Callable[[], T]) -> T:
        """Runs searches, scores and embeddings one after another, beside the batch.

        Raises:
          APIError: as many wait as may.
        """
        with self._lock:
            if self._waiting > self.limits.waiting:
                raise overloaded(f"model {self.name}: {self._waiting} requests wait already")
            self._waiting += 1
        try:
            return await self._run(self._aside, work)
        finally:
            with self._lock:
                self._waiting -= 1

    async def choose(self, work: Callable[[], T]) -> T:
        """Runs what waits for texts of the batch and chooses among them, each in a thread.

        There are as many threads as texts in the batch and its queue, so that none of them waits
        for another one's; the loop's own pool is left to those that join.
        """
        return await self._run(self._choosers, work)

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        future = pool.submit(work)
        self._works.add(future)
        future.add_done_callback(self._works.discard)
        return await asyncio.wrap_future(future)

    @property
    def busy(self) -> bool:
        """Whether a search, a ranker or an embedding runs, for whom a client may have left."""
        return any(work.running() for work in self._works.copy())

    def check_prompt(self, count: int, name: str) -> None:
        """APIError for a prompt of `count` tokens, the field `name`, that is over the limit."""
        most = self.limits.prompt_tokens
        if most is not None and count > most:
            raise context_exceeded(
                f"{name}: got {count} tokens, expected at most {most}, this server's limit", name
            )

    def stop(self) -> None:
        """Ends its threads."""
        self.engine.stop()
        for pool in (self._aside, self._choosers):
            pool.shutdown(wait=False, cancel_futures=True)

    @functools.cached_property
    def token_names(self) -> list[str]:
        r"""Each token's text, as log-probabilities name it; no two tokens have the same.

        A token that is no whole character is bytes:\x.. as OpenAI's API writes it.
        """
        names: list[str] = []
        taken: set[str] = set()
        for index in range(self.model.config.vocab_size):
            content = self.model.tokenizer.token_bytes(index)
            try:
                name = content.decode()
            except UnicodeDecodeError:
                name = "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)
            if name in taken:
                name = f"{name}<{index}>"
            taken.add(name)
            names.append(name)
        return names

    def token_bytes(self, index: int) -> list[int]:
        """The bytes of a token, as the API writes them."""
        return list(self.model.tokenizer.token_bytes(index))

    def about(self) -> dict[str, Any]:
        """The entry of /v1/models."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.model.made,
            "owned_by": "gptjax",
            "gptjax": {
                "chat": self.model.chats,
                "images": self.model.images is not None,
                "context_length": self.model.config.context_length,
                "vocab_size": self.model.config.vocab_size,
                "experiment": self.model.experiment,
                "rankers": list(self.model.rankers),
                "end_of_turn": self.model.template.tokenizer.end_of_turn
                if self.model.chats
                else None,
            },
        }


class Models:
    """The models by name, the first of which is the default, and what judges their texts.

    Attributes:
      all: by name.
      filters: of what goes in and out; None: all passes.
      moderator: that /v1/moderations asks; None: there is none.
    """

    def __init__(
        self,
        served: Sequence[Served],
        filters: FilterChain | None = None,
        moderator: Moderator | None = None,
    ):
        self.all = {each.name: each for each in served}
        self.filters, self.moderator = filters, moderator

    def get(self, name: str | None) -> Served:
        """A model by name, the first for None; APIError 404 where there is none of it."""
        if name is None:
            return next(iter(self.all.values()))
        if name not in self.all:
            raise APIError(
                f"The model {name!r} does not exist; there are: {', '.join(self.all)}",
                status=404,
                param="model",
                code="model_not_found",
            )
        return self.all[name]


def new_id(prefix: str) -> str:
    """A name of an answer that no other one has."""
    return f"{prefix}-{secrets.token_hex(12)}"


def seed_of(values: Mapping[str, Any]) -> int:
    """The seed of a request, or one that is drawn where it has none; the answer says it."""
    return values["seed"] % 2**31 if "seed" in values else secrets.randbelow(2**31)


def as_tokens(served: Served, tokens: Sequence[int], name: str) -> np.ndarray:
    """Checked token ids [n] int32; APIError for one that the model has not."""
    most = served.model.config.vocab_size
    for token in tokens:
        if not 0 <= token < most:
            raise APIError(f"{name}: got token {token}, expected 0 to {most - 1}", param=name)
    return np.array(tokens, np.int32)
