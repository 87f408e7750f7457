"""The application: routes, and what holds for every request.

    app = make_app(Models([Served(ChatModel.load(workdir), limits)]), Options())

Bodies are JSON, are read within limits, and are checked before a model is asked. Every error has
OpenAI's shape, and none of them names a file of the server.
"""

import asyncio
import contextlib
import dataclasses
import hmac
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from absl import logging
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gptjax.serving.documents import documentation, openapi
from gptjax.serving.endpoints import chat_completions, completions, embeddings, responses, tokens
from gptjax.serving.errors import APIError, failed
from gptjax.serving.fields import parsed
from gptjax.serving.generation import ClientGone
from gptjax.serving.metrics import Metrics
from gptjax.serving.served import Limits, Models

_READING_SECONDS = 30.0  # for a body to arrive
LOOPBACK = ("localhost", "127.0.0.1", "::1")
Endpoint = Callable[[Request, Any, Models], Awaitable[Response]]
POSTS: dict[str, Endpoint] = {
    "/v1/chat/completions": chat_completions.create,
    "/v1/completions": completions.create,
    "/v1/responses": responses.create,
    "/v1/embeddings": embeddings.create,
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
    """State of a running server."""

    def __init__(self, models: Models, options: Options):
        self.models, self.options = models, options
        self.metrics = Metrics(models)
        self.stopping = False
        for name, served in models.all.items():
            served.engine.ended = lambda job, name=name: self.metrics.ended(name, job)

    def guarded(
        self, path: str, answer: Callable[[Request], Awaitable[Response]], open_: bool
    ) -> Any:
        """An endpoint with what holds for all: host, key, errors, figures."""

        async def endpoint(request: Request) -> Response:
            with self.metrics.request(path) as answered:
                try:
                    self._check_host(request)
                    if not open_:
                        self._check_key(request)
                    response = await answer(request)
                except APIError as error:
                    response = error.response()
                except (ClientGone, ClientDisconnect):
                    response = Response(status_code=499)
                except Exception:  # a fault of ours is told without its text
                    logging.exception("a request to %s failed", path)
                    response = failed().response()
                answered(response.status_code)
                return response

        return endpoint

    def post(self, path: str, endpoint: Endpoint) -> Route:
        """The route of an operation whose body is JSON."""

        async def answer(request: Request) -> Response:
            if self.stopping:
                raise APIError(
                    "the server is stopping",
                    status=503,
                    kind="server_error",
                    code="stopping",
                    headers={"Retry-After": "5"},
                )
            body = await self._body(request)
            return await endpoint(request, body, self.models)

        return Route(path, self.guarded(path, answer, False), methods=["POST"])

    def get(
        self, path: str, answer: Callable[..., Awaitable[Response]], open_: bool = False
    ) -> Route:
        """The route of what is only read."""
        return Route(path, self.guarded(path, answer, open_), methods=["GET"])

    async def _body(self, request: Request) -> dict[str, Any]:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json":
            raise APIError(
                f"content-type: got {kind[:40] or 'none'}, expected application/json",
                status=415,
                code="unsupported_media_type",
            )
        content, most = bytearray(), self.options.limits.body_bytes
        try:
            async with asyncio.timeout(_READING_SECONDS):
                async for part in request.stream():
                    content += part
                    if len(content) > most:
                        raise APIError(
                            f"body: got more than {most} bytes, expected at most that",
                            status=413,
                            code="request_too_large",
                        )
        except TimeoutError as error:
            raise APIError("body: it did not arrive in time", status=408) from error
        return parsed(bytes(content))

    def _check_host(self, request: Request) -> None:
        name = urllib.parse.urlsplit(f"//{request.headers.get('host', '')}").hostname
        if self.options.loopback and name not in LOOPBACK:
            raise APIError(
                "host: this server answers to localhost only; start it with --host=ADDRESS to be "
                "reached under another name",
                status=403,
                code="wrong_host",
            )

    def _check_key(self, request: Request) -> None:
        if not self.options.api_keys:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        equal = [hmac.compare_digest(given, key.encode()) for key in self.options.api_keys]
        if not any(equal):
            raise APIError(
                "authorization: got no key of this server, expected 'Bearer KEY'",
                status=401,
                kind="authentication_error",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


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

    async def missing(request: Request, error: Exception) -> Response:
        del error
        return APIError(
            f"Unknown request URL: {request.method} {request.url.path[:80]}.",
            status=404,
            code="unknown_url",
        ).response()

    async def wrong_method(request: Request, error: Any) -> Response:
        return APIError(
            f"Not allowed: {request.method} {request.url.path[:80]}.",
            status=405,
            code="method_not_supported",
            headers=error.headers,
        ).response()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        for served in models.all.values():
            served.engine.start()
        yield
        for served in models.all.values():
            await run_in_threadpool(served.stop)

    routes: list[BaseRoute] = [
        *(server.post(path, endpoint) for path, endpoint in POSTS.items()),
        server.get("/v1/models", listed),
        server.get("/v1/models/{name:path}", described),
        server.get("/tokenizer_info", tokenizer),
        server.get("/metrics", measured),
        server.get("/healthz", healthy, open_=True),
        server.get("/openapi.json", document, open_=True),
        server.get("/docs", shown, open_=True),
        *more,
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(server.options.cors_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
    )
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[cors] if server.options.cors_origins else [],
        exception_handlers={404: missing, 405: wrong_method},
    )
    app.state.server = server
    return app
