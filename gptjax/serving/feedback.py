"""Routes of feedback: people's rankings, votes and conversations, and the ratings of models.

    app = Starlette(routes=[*feedback_routes(store), ...])

    GET  /feedback                 {"enabled", "rankings", "votes", "conversations"}
    POST /feedback/rankings        what `records.ranked_replies` reads -> {"id"}
    POST /feedback/votes           what `records.vote` reads -> {"id"}
    POST /feedback/conversations   what `records.kept_conversation` reads -> {"id"}
    GET  /feedback/ratings         what `judging.feedback_ratings` gives

What is answered with 200 is in the store. Limits of bodies and who may send are the app's.
"""

import functools
import json
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gptjax.data.feedback.records import (
    FieldError,
    KeptConversation,
    RankedReplies,
    Vote,
    kept_conversation,
    ranked_replies,
    vote,
)
from gptjax.data.feedback.store import FeedbackStore
from gptjax.judging.feedback_ratings import feedback_ratings

_Read = Callable[[object], RankedReplies | Vote | KeptConversation]
_KINDS: dict[str, _Read] = {
    "rankings": ranked_replies,
    "votes": vote,
    "conversations": kept_conversation,
}


def feedback_routes(store: FeedbackStore | None) -> list[Route]:
    """The routes; of a server without a store, GET /feedback says so, and the others refuse (404).

    Errors have OpenAI's shape: 400 for a body that is not as it should be, 503 for a store that
    cannot be read or written. The store is asked in a thread, not in the event loop.
    """
    if store is None:
        return [
            Route("/feedback", _off, methods=["GET"]),
            Route("/feedback/ratings", _refused, methods=["GET"]),
            *(Route(f"/feedback/{name}", _refused, methods=["POST"]) for name in _KINDS),
        ]

    async def state(request: Request) -> JSONResponse:
        del request
        return await _answered(lambda: {"enabled": True, **store.counts()})

    async def ratings(request: Request) -> JSONResponse:
        del request
        return await _answered(lambda: rated(store.last()))

    @functools.lru_cache(maxsize=1)  # 10,000 rankings take a second
    def rated(last: int) -> dict[str, Any]:
        return feedback_ratings(said for _, said in store.rankings(last))

    def adding(read: _Read) -> Callable:
        async def add(request: Request) -> JSONResponse:
            try:
                said = read(json.loads(await request.body()))
            except FieldError as error:
                return _error(400, str(error), error.field)
            except (ValueError, RecursionError):
                return _error(400, "body: got what is not JSON, expected an object")
            return await _answered(lambda: {"id": store.add(said)})

        return add

    return [
        Route("/feedback", state, methods=["GET"]),
        Route("/feedback/ratings", ratings, methods=["GET"]),
        *(
            Route(f"/feedback/{name}", adding(read), methods=["POST"])
            for name, read in _KINDS.items()
        ),
    ]


async def _answered(ask: Callable[[], dict]) -> JSONResponse:
    """What the store says, asked in a thread."""
    try:
        return JSONResponse(await run_in_threadpool(ask))
    except (OSError, ValueError) as error:
        return _error(503, str(error))


async def _off(request: Request) -> JSONResponse:
    del request
    return JSONResponse({"enabled": False, **dict.fromkeys(_KINDS, 0)})


async def _refused(request: Request) -> JSONResponse:
    del request
    return _error(404, "feedback: got a server without a store, expected one with --store")


def _error(status: int, message: str, param: str | None = None) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": None}
    return JSONResponse({"error": error}, status)
