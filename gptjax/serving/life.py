"""The life of a server process: bound, served, drained at SIGTERM or SIGINT, ended with 0.

serve(models, Options(), bound("127.0.0.1", 8000), drain_seconds=30)
"""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from uvicorn.protocols.http.h11_impl import H11Protocol

from gptjax.serving.app import Options, make_app
from gptjax.serving.served import Models

UNREAD_SECONDS = 60.0  # that a client may leave a full buffer unread
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Uvicorn(uvicorn.Server):
    """Uvicorn, but for the end: it is told the application at once, and raises no signal anew."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        app: Any = self.config.app
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: Any) -> None:
            app.state.server.stopping = True
            self.handle_exit(number, frame)

        before = {number: signal.signal(number, stop) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Connection(H11Protocol):
    """A connection that ends where its client has stopped to read."""

    _unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The buffer is full: the application waits, and the client has so long to read."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._end)

    def resume_writing(self) -> None:
        """The client has read."""
        self._forgive()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nobody to wait for."""
        self._forgive()
        super().connection_lost(exc)

    def _forgive(self) -> None:
        if self._unread is not None:
            self._unread.cancel()

    def _end(self) -> None:
        self.transport.abort()  # to close it would wait for what is in the buffer


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; ValueError where that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(socket.SOMAXCONN)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{host}:{port}: {reason}; expected a free address") from error
    return listening


def server_of(app: Starlette, drain_seconds: float) -> uvicorn.Server:
    """A server of an application, to be run with a bound socket."""
    config = uvicorn.Config(
        app,
        http=_Connection,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
    )
    return _Uvicorn(config)


def serve(
    models: Models,
    options: Options,
    listening: socket.socket,
    drain_seconds: float,
    more: Sequence[BaseRoute] = (),
) -> bool:
    """Serves until SIGTERM or SIGINT: what runs is finished within so long, what is new refused.

    `more` are routes besides, such as those of people's feedback.

    Returns:
      Whether a search or a ranker still runs, which an ordinary exit of the process would await.
    """
    server_of(make_app(models, options, more), drain_seconds).run(sockets=[listening])
    return any(each.busy for each in models.all.values())
