"""A server with OpenAI's interface as a completion function, over HTTP and without its package.

    Endpoint("http://127.0.0.1:8000/v1#my-model", {"max_tokens": 64})

The address is that of the interface, for chats, or of one of its ends: .../v1/chat/completions or
.../v1/completions, which takes a chat as text. The model follows the #; without one, it is the
first that the server names. OPENAI_API_KEY is sent if it is set. EVALS_THREADS calls, 10 by
default, wait at the same time.

A call that fails for a while (HTTP 408, 409, 429, 5xx, no connection) is made again, later each
time, and each time is logged as a warning. One that fails for good is a `Failure`, never an answer.
"""

import concurrent.futures
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any

from absl import logging

from gptjax.evals.openai_evals.classes.base import Call
from gptjax.evals.openai_evals.completion import Answer, Failure, Numbered
from gptjax.evals.openai_evals.prompts import as_chat, as_text

_AGAIN = (408, 409, 429)
_HOPELESS = (401, 403, 404)  # for all calls alike
_LONGEST_WAIT = 60.0  # seconds
_TIMEOUT = 600.0  # seconds


class Endpoint:
    """Calls a server; see the module."""

    def __init__(
        self, url: str, options: Mapping[str, Any], *, tries: int = 6, first_wait: float = 1.5
    ):
        """Asks the server for its models where `url` names none.

        Args:
          url: see the module.
          options: fields of every request, which take the place of an eval's; `model`, `api_key`
            and `timeout`, in seconds, are those of the connection.
          tries: of a call that fails for a while.
          first_wait: seconds before the second try; it doubles each time.

        Raises:
          ValueError: the server names no model.
        """
        address, _, model = url.partition("#")
        self._options = dict(options)
        self._tries, self._first_wait = tries, first_wait
        self._timeout = float(self._options.pop("timeout", _TIMEOUT))
        self._key = self._options.pop("api_key", None) or os.environ.get("OPENAI_API_KEY")
        self._threads = int(os.environ.get("EVALS_THREADS", "10"))
        base = address.rstrip("/")
        self._chat = not base.endswith("/completions") or base.endswith("/chat/completions")
        self._url = base if base.endswith("/completions") else f"{base}/chat/completions"
        base = base.removesuffix("/completions").removesuffix("/chat")
        self._model = str(self._options.pop("model", model) or self._first_model(base))
        self.identity = f"{self._url}#{self._model}"

    def _first_model(self, base: str) -> str:
        found = self._requested(f"{base}/models", None)
        if isinstance(found, Failure):
            raise ValueError(
                f"completion_fn {base}: got {found.message} for its models, expected a server with "
                "OpenAI's interface, or a model as URL#MODEL"
            )
        try:
            return found["data"][0]["id"]
        except (LookupError, TypeError) as error:
            raise ValueError(
                f"completion_fn {base}: got no models, expected one, or a model as URL#MODEL"
            ) from error

    def answers(self, calls: Sequence[Call]) -> Numbered:
        """Yields answers as they come.

        Raises:
          ValueError: the server refuses all calls (HTTP 401, 403, 404).
        """
        with concurrent.futures.ThreadPoolExecutor(self._threads) as pool:
            numbers = {pool.submit(self._answer, call): i for i, call in enumerate(calls)}
            try:
                for done in concurrent.futures.as_completed(numbers):
                    yield numbers[done], done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _answer(self, call: Call) -> Answer | Failure:
        prompt: dict[str, Any] = {"prompt": as_text(call.prompt)}
        if self._chat:
            prompt = {"messages": as_chat(call.prompt)}
        body = {"model": self._model, **prompt, **call.arguments, **self._options}
        reply = self._requested(self._url, body)
        if isinstance(reply, Failure):
            return reply
        try:
            choice = reply["choices"][0]
            text = choice["message"]["content"] if self._chat else choice["text"]
        except (LookupError, TypeError):
            return Failure("NoCompletion", f"the server answered {json.dumps(reply)[:200]}")
        if not isinstance(text, str):
            return Failure("NoCompletion", f"the server answered a choice of {text!r}")
        details = {"model": reply.get("model", self._model)}
        if reply.get("usage"):
            details["usage"] = reply["usage"]
        return Answer(text, details)

    def _requested(self, url: str, body: Any) -> Any:
        """The server's reply as JSON, or the failure of the last try."""
        wait = self._first_wait
        for left in reversed(range(self._tries)):
            try:
                return self._sent(url, body)
            except urllib.error.HTTPError as error:
                said = _said(error)
                if error.code in _HOPELESS:
                    raise ValueError(
                        f"completion_fn {url}: got {said}, expected answers"
                    ) from error
                failure = Failure("HTTPError", said)
                if error.code not in _AGAIN and error.code < 500:
                    return failure
                wait = max(wait, _retry_after(error))
            except (OSError, HTTPException, ValueError) as error:
                failure = Failure(type(error).__name__, str(error) or type(error).__name__)
            if left:
                wait = min(wait, _LONGEST_WAIT)
                logging.warning("%s: %s; asked again in %.1f s", url, failure.message, wait)
                time.sleep(wait)
                wait *= 2
            else:
                return failure
        raise AssertionError("a call is tried at least once")

    def _sent(self, url: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(request, timeout=self._timeout) as reply:
            return json.load(reply)


def _said(error: urllib.error.HTTPError) -> str:
    """An error of a server in one line, with the message that OpenAI's form of it has."""
    text = error.read().decode(errors="replace")
    try:
        text = json.loads(text)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        text = text[:200]
    return " ".join(f"HTTP {error.code}: {text or error.reason}".split())


def _retry_after(error: urllib.error.HTTPError) -> float:
    """Seconds that a server asks to wait; 0: it does not say."""
    try:
        return float(error.headers.get("Retry-After", ""))
    except ValueError:
        return 0.0
