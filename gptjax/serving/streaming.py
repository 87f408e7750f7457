"""Answers as server-sent events, as OpenAI's clients read them.

    return event_stream(events, writing.end)

Each value is a `data:` event, and [DONE] ends them. While nothing comes, comments keep the line
alive: an event without data is an error to OpenAI's clients. An error after the first event is an
event of its own, since the status has been sent.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeVar

from absl import logging
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gptjax.finite import NotFinite
from gptjax.serving.errors import APIError, failed, refused

PING_SECONDS = 15.0
T = TypeVar("T")


class _Events(StreamingResponse):
    """Closes what it streams at its end, also where its client was gone before the first event."""

    def __init__(self, events: AsyncGenerator[str, None], end: Callable[[], object]):
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._events, self._end = events, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()  # a generator that was not begun has no `finally`
            await self._events.aclose()


def event_stream(
    events: AsyncGenerator[Any, None],
    end: Callable[[], object],
    named: bool = False,
    ping: float = PING_SECONDS,
) -> StreamingResponse:
    """A response of JSON values.

    Args:
      events: values; the generator is closed when the client hangs up.
      end: called in any case when the response ends; ends what the events are made of.
      named: whether each value is an event of the name in its field `type`, as those of
        /v1/responses are, and no [DONE] follows.
      ping: seconds of silence after which a comment is sent.
    """
    return _Events(_lines(events, named, ping), end)


async def merged(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The values of all sources as they come; an error of one of them ends all."""
    news: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue()

    async def read(source: AsyncGenerator[T, None]) -> None:
        try:
            async for value in source:
                news.put_nowait((value,))
        except Exception as error:  # raised by whoever reads the news
            news.put_nowait(error)
        else:
            news.put_nowait(None)

    readers = [asyncio.create_task(read(source)) for source in sources]
    left = len(readers)
    try:
        while left:
            item = await news.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield item[0]
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for source in sources:
            await source.aclose()


async def _lines(
    events: AsyncGenerator[Any, None], named: bool, ping: float
) -> AsyncGenerator[str, None]:
    waiting: asyncio.Task[Any] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({waiting}, timeout=ping)
            if not done:
                yield ": ping\n\n"
                continue
            task, waiting = waiting, None
            try:
                value = task.result()
            except StopAsyncIteration:
                break
            name = f"event: {value['type']}\n" if named else ""
            yield f"{name}data: {_json(value)}\n\n"
        if not named:
            yield "data: [DONE]\n\n"
    except Exception as error:  # the status is sent: the client is told by an event
        if isinstance(error, NotFinite):
            error = refused(error)
        elif not isinstance(error, APIError):
            logging.exception("a stream failed")
            error = failed()
        body = {**error.error, "type": "error"} if named else error.body
        name = "event: error\n" if named else ""
        yield f"{name}data: {_json(body)}\n\n"
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait({waiting})
        await events.aclose()


def _json(value: Any) -> str:
    # In ASCII: some clients take U+0085 and U+2028 for ends of lines.
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
