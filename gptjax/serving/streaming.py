"""Answers as server-sent events, as OpenAI's clients read them.

    return event_stream(events, request)

Each value is a `data:` event, and [DONE] ends them. While nothing comes, comments keep the line
alive: an event without data is an error to OpenAI's clients. An error after the first event is an
event of its own, since the status has been sent.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from absl import logging
from starlette.responses import StreamingResponse

from gptjax.serving.errors import APIError, failed

PING_SECONDS = 15.0


def event_stream(
    events: AsyncIterator[Any], named: bool = False, ping: float = PING_SECONDS
) -> StreamingResponse:
    """A response of JSON values.

    Args:
      events: values; the iterator is closed when the client hangs up.
      named: whether each value is an event of the name in its field `type`, as those of
        /v1/responses are, and no [DONE] follows.
      ping: seconds of silence after which a comment is sent.
    """
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    lines = _lines(events, named, ping)
    return StreamingResponse(lines, media_type="text/event-stream", headers=headers)


async def _lines(events: AsyncIterator[Any], named: bool, ping: float) -> AsyncIterator[str]:
    waiting: asyncio.Task[Any] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))  # type: ignore[arg-type]
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
        if not isinstance(error, APIError):
            logging.exception("a stream failed")
            error = failed()
        body = {"type": "error", **error.error} if named else error.body
        name = "event: error\n" if named else ""
        yield f"{name}data: {_json(body)}\n\n"
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait({waiting})
        await events.aclose()  # type: ignore[attr-defined]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
