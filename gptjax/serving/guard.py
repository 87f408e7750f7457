"""What holds for every request: who may ask, how large a body is, how long it may take to arrive.

    Middleware(Guard, server=server)

A body is read whole before the application sees the request, so that a slow or endless one costs a
buffer and no thread.
"""

import asyncio
import hmac
import urllib.parse
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptjax.serving.errors import APIError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_READING_SECONDS = 30.0
_OPEN = ("/", "/healthz", "/docs", "/openapi.json", "/favicon.ico")  # need no key, as the page's
_PAGE = "/page/"


class Guard:
    """Refuses, counts and times the requests of a server."""

    def __init__(self, app: ASGIApp, server: Any):
        self._app, self._server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        with self._server.metrics.request(self._label(scope["path"])) as answered:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    answered(message["status"])
                await send(message)

            try:
                self._check(request)
                takes = scope["method"] == "POST" and scope["path"] in self._server.posts
                body = await self._body(request) if takes else b""
            except APIError as error:
                await error.response()(scope, receive, told)
                return
            except ClientDisconnect:
                answered(499)  # nobody is there to be told
                return
            given = [{"type": "http.request", "body": body, "more_body": False}]

            async def again() -> Message:
                return given.pop() if given else await receive()

            await self._app(scope, again, told)

    def _label(self, path: str) -> str:
        """A path as figures have it: a client may ask for any, and each would be a row."""
        if path.startswith("/v1/models/"):
            return "/v1/models/{name}"
        return path if path in self._server.paths else "other"

    def _check(self, request: Request) -> None:
        """Raises APIError for the wrong host or key, and for new work while the server stops."""
        # The path that is routed: `request.url` is made of the client's Host too.
        options, path = self._server.options, request.scope["path"]
        if options.loopback and _hostname(request) not in LOOPBACK:
            raise APIError(
                "host: this server answers to localhost only; start it with --host=ADDRESS to be "
                "reached under another name",
                status=403,
                code="wrong_host",
            )
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        known = [hmac.compare_digest(given, key.encode()) for key in options.api_keys]
        if known and not any(known) and path not in _OPEN and not path.startswith(_PAGE):
            raise APIError(
                "authorization: got no key of this server, expected 'Bearer KEY'",
                status=401,
                kind="authentication_error",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if self._server.stopping and request.method == "POST":
            raise APIError(
                "the server is stopping",
                status=503,
                kind="server_error",
                code="stopping",
                headers={"Retry-After": "5"},
            )

    async def _body(self, request: Request) -> bytes:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json":
            raise APIError(  # a page of another origin can send no such body unasked
                f"content-type: got {kind[:40] or 'none'}, expected application/json",
                status=415,
                code="unsupported_media_type",
            )
        content, most = bytearray(), self._server.options.limits.body_bytes
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
        return bytes(content)


def _hostname(request: Request) -> str | None:
    try:
        return urllib.parse.urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:  # such as an unclosed bracket
        return None
