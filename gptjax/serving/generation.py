"""Replies to one request: written, waited for, streamed, ended when the client has gone.

writing = await started(served, policy, asked, count=2)
replies = await writing.whole(request)         # or: async for ... in writing.pieces()
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import numpy as np
from starlette.requests import Request

from gptjax.chat.drafts import Asked, Draft, finish_reason, tokens_written
from gptjax.chat.replies import Beams, ReplyPolicy
from gptjax.inference.requests import QueueFull
from gptjax.serving.engine import STRETCH, Job
from gptjax.serving.errors import APIError, failed, overloaded, refused
from gptjax.serving.served import Served
from gptjax.serving.streaming import merged


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """One reply that is there.

    Attributes:
      text: of it.
      reason: why it ended, as the API says it.
      draft: its tokens and their log-probabilities.
      count: tokens of it that are in the text; what ended it is not.
      scored: whether its tokens may be listed, which would spell out what a filter took away.
    """

    text: str
    reason: str
    draft: Draft
    count: int
    scored: bool = True


class Writing:
    """The drafts of one request."""

    def __init__(self, served: Served, policy: ReplyPolicy, asked: Asked, drafts: Sequence[Draft]):
        self.served, self.asked, self.drafts = served, asked, drafts
        self._searches = isinstance(policy, Beams)
        self._choosing = asyncio.Lock()

    @property
    def tokens(self) -> int:
        """Tokens that were written so far, as usage counts them: those not chosen included."""
        return tokens_written(self.drafts)

    async def whole(self, request: Request) -> list[Chosen]:
        """All replies once they are there.

        Raises:
          ClientGone: the client hung up; the drafts have ended.
          APIError: a search took too long, or a batch failed.
        """
        texts = asyncio.create_task(self._texts())
        gone = asyncio.create_task(_hung_up(request))
        limit = self.served.limits.seconds
        try:
            await asyncio.wait({texts, gone}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not texts.done() and gone.done():
                raise ClientGone
            if not texts.done():
                for draft in self.drafts:
                    draft.cancel()
                if self._searches:
                    raise _too_slow(limit)
            found = await texts
        finally:
            gone.cancel()
            self.end()
            texts.cancel()
        pairs = zip(self.drafts, found, strict=True)
        return [self.chosen(draft, text) for draft, text in pairs]

    async def _texts(self) -> list[str]:
        return await asyncio.gather(*map(self._text, self.drafts))

    async def _text(self, draft: Draft) -> str:
        if isinstance(draft, Job):
            return await draft.whole()
        run = self.served.aside if self._searches else self.served.choose
        try:
            async with self._choosing:  # the first one waits for all, in one thread
                return await run(lambda: "".join(draft.text()))
        except ValueError as error:
            raise refused(error) from error

    async def pieces(self) -> AsyncIterator[tuple[int, str, bool]]:
        """Number of a reply, new text of it, and whether it has ended, as they come.

        A reply that takes too long ends as it is.

        Raises:
          APIError: a search took too long, or one of them failed.
        """
        late = None
        if not self._searches:
            loop = asyncio.get_running_loop()
            late = loop.call_later(self.served.limits.seconds, self.end)
        sources = [self._pieces_of(index, draft) for index, draft in enumerate(self.drafts)]
        try:
            async with contextlib.aclosing(merged(sources)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            if late is not None:
                late.cancel()
            self.end()

    async def _pieces_of(
        self, index: int, draft: Draft
    ) -> AsyncGenerator[tuple[int, str, bool], None]:
        if isinstance(draft, Job):
            async for piece in draft.pieces():
                yield index, piece, False
        else:
            limit = self.served.limits.seconds if self._searches else None
            try:
                async with asyncio.timeout(limit):
                    text = await self._text(draft)
            except TimeoutError as error:
                raise _too_slow(self.served.limits.seconds) from error
            yield index, text, False
        yield index, "", True

    def chosen(self, draft: Draft, text: str) -> Chosen:
        """A reply that has ended; APIError where its batch failed."""
        try:
            reason = finish_reason(draft) or "length"
        except RuntimeError as error:
            raise failed() from error
        except ValueError as error:
            raise refused(error) from error
        return Chosen(text, reason, draft, self.shown(draft, text))

    def shown(self, draft: Draft, text: str) -> int:
        """How many of a draft's tokens `text` holds: not its stop token, nor a stop string's."""
        tokens, decode = draft.tokens, self.served.model.tokenizer.decode
        count = len(tokens)
        if count and draft.finished == "stop_token":
            count -= 1
        while draft.finished == "stop" and count and len(decode(tokens[: count - 1])) >= len(text):
            count -= 1
        return count

    def end(self) -> None:
        """Ends what is still written."""
        for draft in self.drafts:
            draft.cancel()


async def started(
    served: Served, policy: ReplyPolicy, asked: Asked, count: int, patient: bool = False
) -> Writing:
    """Puts a request's texts into the batch; they end where the task is cancelled meanwhile.

    Where the queue is full, a `patient` request, which has other texts there, waits for a place.

    Raises:
      APIError: options that do not fit the model, a full queue, or a server that is stopping.
    """
    while True:
        try:
            return await _started(served, policy, asked, count)
        except QueueFull as error:
            if not patient:
                message = f"model {served.name}: its queue is full; try again later"
                raise overloaded(message) from error
        await asyncio.sleep(STRETCH)


async def _started(served: Served, policy: ReplyPolicy, asked: Asked, count: int) -> Writing:
    making = asyncio.create_task(
        asyncio.to_thread(policy.drafts, served.model, served.engine, asked, count)
    )
    try:
        drafts = await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(_ended)  # nobody is there to read them
        raise
    except QueueFull:
        raise
    except ValueError as error:
        name = str(error).split(":")[0]
        raise refused(error, name if name.isidentifier() else None) from error
    except RuntimeError as error:
        raise APIError("the server is stopping", status=503, kind="server_error") from error
    return Writing(served, policy, asked, drafts)


def _ended(making: asyncio.Task[Sequence[Draft]]) -> None:
    """Ends drafts that were made for nobody."""
    if not making.cancelled() and making.exception() is None:
        for draft in making.result():
            draft.cancel()


def top_of(draft: Draft, index: int, most: int) -> list[tuple[int, float]]:
    """The most probable tokens at a place of a draft, and their log-probabilities."""
    if not draft.alternatives:
        return []
    ids, log_probs = draft.alternatives[index]
    return list(zip(np.asarray(ids)[:most].tolist(), log_probs[:most].tolist(), strict=True))


async def _hung_up(request: Request) -> None:
    """Returns once the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_slow(seconds: float) -> APIError:
    return APIError(
        f"this search took more than {seconds:g} seconds, the server's limit",
        status=504,
        kind="server_error",
        code="timeout",
        headers={"x-should-retry": "false"},
    )
