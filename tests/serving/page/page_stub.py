"""A server that answers as ours does, for tests of the page: no jax and no model.

What a message says decides what happens: "forbidden" is withdrawn, "boom" fails in the stream. The
model "slow-chat" writes two words and waits for `go_on`, so that tests wait for events only.
"""

import asyncio
import json
import math
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gptjax.serving.page_files import page_routes
from tests.serving.page.page_texts import ATTACK, MARKDOWN, PROSE, PROSE_OF_OTHERS, split

CONTEXT = 512
MODELS = {"tiny-chat": True, "slow-chat": True, "wide-chat": True, "base": False}
END = b"<|end|>"
ALTERNATIVES = [" a", " the", " one", "<|end|>", " some", " quite", " never", " of"]


def text_of(message: dict) -> str:
    """The text of a message, with [picture] for each of its pictures."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "[picture]") for part in content)


class PageStub:
    """The server's state: what was asked, what it is to do next."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict]] = []
        self.feedback = True
        self.key: str | None = None
        self.stopped = threading.Event()
        self.vocabulary: list[bytes] = []
        self.replies = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate = asyncio.Event()

    def reset(self) -> None:
        """As it was at the start, but for the ids of tokens."""
        self.requests, self.feedback, self.key, self.replies = [], True, None, 0
        self.stopped.clear()
        self.hold()

    def go_on(self) -> None:
        """Lets slow replies go on."""
        self._loop.call_soon_threadsafe(self._gate.set)

    def hold(self) -> None:
        self._loop.call_soon_threadsafe(self._gate.clear)

    def asked(self, path: str) -> list[dict]:
        return [body for name, body in self.requests if name == path]

    # Handlers

    async def models(self, _: Request) -> Response:
        if self.key and _.headers.get("authorization") != f"Bearer {self.key}":
            return failure(401, "a key is needed", "invalid_api_key")
        data = [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "gptjax",
                "gptjax": {
                    "chat": chat,
                    "images": name == "wide-chat",
                    "context_length": CONTEXT,
                    "vocab_size": 1030,
                    "experiment": "stub",
                    "rankers": ["reward"],
                    "end_of_turn": self._id(END),
                },
            }
            for name, chat in MODELS.items()
        ]
        return JSONResponse({"object": "list", "data": data})

    async def tokenize(self, request: Request) -> Response:
        body = await self._body(request)
        texts = [text_of(message) for message in body["messages"]]
        count = sum(len(split(text)) + 2 for text in texts) + 2
        return JSONResponse({"count": count, "max_model_len": CONTEXT, "tokens": [0] * count})

    async def chat(self, request: Request) -> Response:
        body = await self._body(request)
        said = text_of(body["messages"][-1])
        if "refused status" in said:
            return failure(400, "temperature must be at most 2", None)
        if body.get("num_beams") and body.get("logprobs"):
            return failure(400, "logprobs: got them with num_beams", None)
        if body.get("best_of"):
            if body.get("stream"):
                return failure(400, "stream: got it with best_of", None)
            return await self._whole(body, said)
        if "not json" in said:
            return Response("<h1>Bad gateway</h1>", status_code=502, media_type="text/html")
        return StreamingResponse(self._stream(body, said), media_type="text/event-stream")

    async def feedback_state(self, _: Request) -> Response:
        counts = {"rankings": 0, "votes": 0, "conversations": 0}
        return JSONResponse({"enabled": self.feedback} | counts)

    async def keep(self, request: Request) -> Response:
        await self._body(request)
        return JSONResponse({"id": f"kept-{len(self.requests)}"})

    async def ratings(self, _: Request) -> Response:
        rows = [
            ("wide-chat (best_of=4)", 1108, 1061, 1157, 61),
            ("wide-chat (temperature=0.7)", 1046, 1003, 1090, 74),
            ("tiny-chat (num_beams=4)", 962, 918, 1004, 70),
            ("tiny-chat (temperature=0.7)", 884, 829, 936, 55),
        ]
        names = ("name", "rating", "low", "high", "games")
        players = [dict(zip(names, row, strict=True)) for row in rows]
        return JSONResponse({"players": players, "comparisons": 130})

    # Streams

    async def _body(self, request: Request) -> dict:
        body = await request.json()
        self.requests.append((request.url.path, body))
        return body

    def _id(self, token: bytes) -> int:
        if token not in self.vocabulary:
            self.vocabulary.append(token)
        return self.vocabulary.index(token)

    def _logprob(self, token: bytes, place: int) -> dict:
        """A probability that depends on the word and its place; alternatives share what is left."""
        chance = [0.94, 0.62, 0.31, 0.12, 0.03, 0.88, 0.997][(len(token) * 7 + place * 3) % 7]
        others = [word.encode() for word in ALTERNATIVES if word.encode() != token][:7]
        shares = [(1 - chance) * 0.5 ** (i + 1) for i in range(len(others))]
        entries = [self._entry(token, chance), *map(self._entry, others, shares)]
        entries.sort(key=lambda entry: -entry["logprob"])
        return self._entry(token, chance) | {"top_logprobs": entries}

    def _entry(self, token: bytes, chance: float) -> dict:
        try:
            text = token.decode()
        except UnicodeDecodeError:
            text = "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
        return {
            "token": text,
            "logprob": math.log(chance),
            "bytes": list(token),
            "id": self._id(token),
        }

    def _text(self, body: dict, said: str) -> str:
        self.replies += 1
        if body.get("assistant_tokens") or body.get("continue_final_message"):
            return " and it went on."
        if "prose" in said and body["model"] == "wide-chat":
            return PROSE_OF_OTHERS[0]
        if "prose" in said and "num_beams" in body:
            return PROSE_OF_OTHERS[1]
        for word, text in {"attack": ATTACK, "markdown": MARKDOWN, "prose": PROSE}.items():
            if word in said:
                return text
        if "emoji" in said:
            return "שלום 🙂 done"
        if "long" in said:
            return " ".join(f"word{i}" for i in range(400))
        return f"Reply {self.replies} of {body['model']} with {policy_of(body)} to {said}"

    async def _whole(self, body: dict, said: str) -> Response:
        text = self._text(body, said)
        tokens = [self._logprob(token, place) for place, token in enumerate(split(text))]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": tokens} if body.get("logprobs") else None,
            "finish_reason": "stop",
        }
        return JSONResponse({"choices": [choice], "gptjax": ours(body), "usage": {}})

    async def _stream(self, body: dict, said: str) -> AsyncIterator[str]:
        wanted = body.get("logprobs", False)
        finish, gptjax = "stop", ours(body)
        tokens = split(self._text(body, said))
        decision = {
            "where": "output",
            "stage": "words",
            "category": "violence",
            "score": 0.93,
            "action": "end",
            "choice": 0,
        }
        if "refuse me" in said:
            tokens, finish = [], "content_filter"
            gptjax["moderation"] = [decision | {"where": "input", "action": "refuse"}]
        if "forbidden" in said:
            tokens, finish = tokens[:3], "content_filter"
            gptjax["moderation"] = [decision]
        if "redacted" in said:
            gptjax["moderation"] = [decision | {"action": "redact"}]
        if "dropped" in said:
            gptjax["dropped_messages"] = [0, 1]
        if "cut" in said:
            finish, gptjax["room"] = "length", 0
        try:
            yield ": ping\n\n"
            yield event({"delta": {"role": "assistant", "content": ""}})
            pending = b""
            for place, token in enumerate(tokens):
                if place == 2 and body["model"] == "slow-chat":
                    await self._gate.wait()
                if place == 2 and "boom" in said:
                    yield f"data: {json.dumps(error_of('the device is out of memory'))}\n\n"
                    return
                if place == 2 and "dies" in said:
                    return
                pending += token
                try:
                    text, pending = pending.decode(), b""
                except UnicodeDecodeError:
                    text = ""
                chunk = {"delta": {"content": text}}
                if wanted:
                    chunk["logprobs"] = {"content": [self._logprob(token, place)]}
                yield event(chunk)
                if place % 16 == 0:
                    await asyncio.sleep(0)
            yield event({"delta": {}, "finish_reason": finish}, gptjax=gptjax)
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.stopped.set()
            raise


def policy_of(body: dict) -> str:
    names = [name for name in ("best_of", "num_beams", "temperature", "top_p") if name in body]
    return ", ".join(f"{name}={body[name]:g}" for name in names)


def ours(body: dict) -> dict:
    seed = body.get("seed", 1234)
    about = {"dropped_messages": [], "cut_tokens": 0, "room": 300, "moderation": []}
    return about | {"seed": seed, "policy": policy_of(body)}


def event(choice: dict, **more: object) -> str:
    full = {"index": 0, "finish_reason": None, "logprobs": None} | choice
    chunk = {"object": "chat.completion.chunk", "choices": [full], "usage": None} | more
    return f"data: {json.dumps(chunk)}\n\n"


def error_of(message: str, code: str | None = None) -> dict:
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def failure(status: int, message: str, code: str | None) -> Response:
    return JSONResponse(error_of(message, code), status_code=status)


@contextmanager
def serving():
    """Serves the page and the stub at a free port of this machine, in a thread."""
    stub = PageStub()
    routes = [
        *page_routes(),
        Route("/v1/models", stub.models),
        Route("/v1/chat/completions", stub.chat, methods=["POST"]),
        Route("/tokenize", stub.tokenize, methods=["POST"]),
        Route("/feedback", stub.feedback_state),
        Route("/feedback/ratings", stub.ratings),
        Route("/feedback/{kind}", stub.keep, methods=["POST"]),
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    stub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            stub._loop = asyncio.get_running_loop()
            ready.set()

    config = uvicorn.Config(
        Starlette(routes=routes), log_level="error", timeout_graceful_shutdown=1
    )
    server = Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield stub
    finally:
        stub.go_on()
        server.should_exit = True
        thread.join(10)
        listener.close()


if __name__ == "__main__":  # a look at the page: python -m tests.serving.page.page_stub
    with serving() as running:
        print(running.url, flush=True)
        threading.Event().wait()
