"""Clients of a server of completions, as a program of its own: its load is not the server's.

    python -m experiments.benchmarks.http_clients '{"port": 8000, "clients": 8,
        "prompts": [[1, 2], ...], "new": 64, "stream": false, "vocab_size": 0}'

For each line that it reads it sends all prompts once, so many at a time; others each time where
there is a vocabulary's size. It answers with a line of JSON: seconds, tokens, and the seconds to
the first token of each where it streams.
"""

import asyncio
import json
import sys
import time
from typing import Any

import numpy as np


async def _one(port: int, body: dict[str, Any]) -> tuple[float, int]:
    """Seconds to the first event, or to the answer, and the tokens written."""
    content = json.dumps(body).encode()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    await writer.drain()
    status = await reader.readline()
    if b" 200 " not in status:
        raise ValueError(f"{status!r}: {(await reader.read())[:200]!r}")
    await reader.readuntil(b"\r\n\r\n")
    if body.get("stream"):
        await reader.readuntil(b"data: ")
        first = time.perf_counter() - began
        await reader.read()
        writer.close()
        return first, body["max_tokens"]
    answer = await reader.read()
    writer.close()
    text = answer[answer.index(b"{") : answer.rindex(b"}") + 1]
    return time.perf_counter() - began, json.loads(text)["usage"]["completion_tokens"]


async def _all(
    port: int, clients: int, prompts: list[Any], new: int, stream: bool, vocab_size: int
) -> Any:
    places = asyncio.Semaphore(clients)

    async def one(number: int, prompt: Any) -> tuple[float, int]:
        async with places:
            body = {"prompt": prompt, "max_tokens": new, "seed": number}
            return await _one(port, body | ({"stream": True} if stream else {}))

    return await asyncio.gather(*(one(i, prompt) for i, prompt in enumerate(prompts)))


def main() -> None:
    """Sends all once, then once more for each line."""
    asked = json.loads(sys.argv[1])
    asyncio.run(_all(**asked))
    print("ready", flush=True)
    for _ in sys.stdin:
        if asked["vocab_size"]:  # others than before, which the server may have kept
            new = (np.array(asked["prompts"]) * 5 + 1) % asked["vocab_size"]
            asked["prompts"] = new.tolist()
        began = time.perf_counter()
        made = asyncio.run(_all(**asked))
        seconds = time.perf_counter() - began
        figures = {
            "seconds": seconds,
            "tokens": sum(tokens for _, tokens in made),
            "first": [first for first, _ in made],
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
