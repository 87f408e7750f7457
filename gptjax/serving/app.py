"""The application: routes, and what holds for every request.

    app = make_app(Models([Served(ChatModel.load(workdir), limits)]), Options())

Bodies are JSON, are read within limits, and are checked before a model is asked. Every error has
OpenAI's shape, and none of them names a file of the server.
"""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gptjax.finite import NotFinite
from gptjax.serving.bodies.fields import parsed
from gptjax.serving.documents import documentation, openapi
from gptjax.serving.endpoints import (
    chat_completions,
    completions,
    embeddings,
    moderations,
    responses,
    tokens,
)
from gptjax.serving.errors import APIError, failed, refused
from gptjax.serving.generation import ClientGone
from gptjax.serving.guard import Guard
from gptjax.serving.metrics import Metrics
from gptjax.serving.served import Limits, Models

Endpoint = Callable[[Request, Any, Models], Awaitable[Response]]
POSTS: dict[str, Endpoint] = {
    "/v1/chat/completions": chat_completions.create,
    "/v1/completions": completions.create,
    "/v1/responses": responses.create,
    "/v1/embeddings": embeddings.create,
    "/v1/moderations": moderations.create,
    "/tokenize": tokens.tokenize,
    "/detokenize": tokens.detokenize,
}


@dataclasses.dataclass(frozen=True)
class Options:
    """How a server is reached.

    Attributes:
      api_keys: one of which a client must have; none: all are welcome.
      cors_origins: whose pages may call it from a browser; none by default.
      loopback: whether it is reached by this machine only; then a request under another name is
        refused, as one is that another page has tricked a browser into.
      limits: of requests.
    """

    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    loopback: bool = True
    limits: Limits = dataclasses.field(default_factory=Limits)


def keys_in(path: Path) -> tuple[str, ...]:
    """The keys in a file, one a line; ValueError where it cannot be read or has none."""
    try:
        keys = tuple(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}; expected a file with a key a line") from error
    if not keys:
        raise ValueError(f"{path}: got no key, expected one a line")
    return keys


class Server:
    """State of a running server.

    Attributes:
      stopping: whether new work is refused.
      paths: that figures name.
      posts: those that take a body.
    """

    def __init__(self, models: Models, options: Options):
        self.models, self.options = models, options
        self.metrics = Metrics(models)
        self.stopping = False
        self.paths: frozenset[str] = frozenset()
        self.posts: frozenset[str] = frozenset()
        for name, served in models.all.items():
            served.engine.ended = lambda job, name=name: self.metrics.ended(name, job)

    def post(self, path: str, endpoint: Endpoint) -> Route:
        """The route of an operation whose body is JSON."""

        async def answer(request: Request) -> Response:
            return await endpoint(request, parsed(await request.body()), self.models)

        return Route(path, answer, methods=["POST"])


def make_app(
    models: Models, options: Options | None = None, more: Sequence[BaseRoute] = ()
) -> Starlette:
    """The application over models whose engines it starts and stops.

    Args:
      models: one or more.
      options: how it is reached.
      more: routes besides, such as the page's.
    """
    server = Server(models, options or Options())

    async def listed(request: Request) -> Response:
        del request
        data = [served.about() for served in models.all.values()]
        return JSONResponse({"object": "list", "data": data})

    async def described(request: Request) -> Response:
        return JSONResponse(models.get(request.path_params["name"]).about())

    async def healthy(request: Request) -> Response:
        del request
        status = "stopping" if server.stopping else "ok"
        return JSONResponse({"status": status}, 503 if server.stopping else 200)

    async def measured(request: Request) -> Response:
        del request
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")

    async def document(request: Request) -> Response:
        del request
        return JSONResponse(openapi())

    async def shown(request: Request) -> Response:
        del request
        return Response(documentation(), media_type="text/html")

    async def tokenizer(request: Request) -> Response:
        return await tokens.info(request, models)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        for served in models.all.values():
            served.engine.start()
        yield
        for served in models.all.values():
            await run_in_threadpool(served.stop)

    routes: list[BaseRoute] = [
        *(server.post(path, endpoint) for path, endpoint in POSTS.items()),
        Route("/v1/models", listed),
        Route("/v1/models/{name:path}", described),
        Route("/tokenizer_info", tokenizer),
        Route("/metrics", measured),
        Route("/healthz", healthy),
        Route("/openapi.json", document),
        Route("/docs", shown),
        *more,
    ]
    plain = [route for route in routes if isinstance(route, Route)]
    server.paths = frozenset(route.path for route in plain)
    server.posts = frozenset(route.path for route in plain if "POST" in (route.methods or ()))
    origins = list(server.options.cors_origins)
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
    )
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[*([cors] if origins else []), Middleware(Guard, server=server)],
        exception_handlers={
            404: _missing,
            405: _wrong_method,
            APIError: _refused,
            NotFinite: _not_finite,
            ClientGone: _gone,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )
    app.state.server = server
    return app


async def _refused(request: Request, error: Any) -> Response:
    del request
    return error.response()


async def _not_finite(request: Request, error: Any) -> Response:
    del request
    return refused(error).response()


async def _gone(request: Request, error: Exception) -> Response:
    del request, error
    return Response(status_code=499)


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of ours is told without its text; uvicorn logs it."""
    del request, error
    return failed().response()


async def _missing(request: Request, error: Exception) -> Response:
    del error
    return APIError(
        f"Unknown request URL: {request.method} {request.url.path[:80]}.",
        status=404,
        code="unknown_url",
    ).response()


async def _wrong_method(request: Request, error: Any) -> Response:
    return APIError(
        f"Not allowed: {request.method} {request.url.path[:80]}.",
        status=405,
        code="method_not_supported",
        headers=error.headers,
    ).response()
