"""Errors of the API, in OpenAI's shape: {"error": {"message", "type", "param", "code"}}.

raise APIError("temperature: got 3, expected 0 to 2", param="temperature")
"""

from collections.abc import Mapping
from typing import Any

from absl import logging
from starlette.responses import JSONResponse

from gptjax.chat.replies import RankerFailed
from gptjax.finite import NotFinite

_CONTEXT = "context_length_exceeded"  # by which clients know it; LangChain reads the message alone


class APIError(Exception):
    """What a client is told, and the status that it gets."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.error = {"message": message, "type": kind, "param": param, "code": code}

    @property
    def body(self) -> dict[str, Any]:
        """As JSON values."""
        return {"error": self.error}

    def response(self) -> JSONResponse:
        """As an answer."""
        return JSONResponse(self.body, self.status, self.headers)


def refused(error: ValueError, param: str | None = None) -> APIError:
    """What a request is refused for; where a model or a ranker is at fault, that is ours (500)."""
    if isinstance(error, NotFinite | RankerFailed):
        logging.error("a request failed: %s", error)
        return failed(str(error)) if isinstance(error, NotFinite) else failed()
    return APIError(str(error), param=param)


def context_exceeded(message: str, param: str) -> APIError:
    """What is read does not fit in the model's context."""
    return APIError(f"{message} ({_CONTEXT})", param=param, code=_CONTEXT)


def overloaded(message: str, seconds: int = 1) -> APIError:
    """Too many requests at once; clients try again after `seconds`."""
    return APIError(
        message,
        status=429,
        kind="rate_limit_error",
        code="queue_full",
        headers={"Retry-After": str(seconds)},
    )


def failed(message: str = "the server failed on this request; its log says why") -> APIError:
    """A fault of ours. No path, no trace and no text of the request is in it."""
    return APIError(message, status=500, kind="server_error", code="server_error")
