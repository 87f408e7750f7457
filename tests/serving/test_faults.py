"""What goes wrong in the middle: who is told, who is not held up, and that nothing stays behind."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from gptjax.chat.drafts import Asked
from gptjax.chat.replies import BestOf, Sampling
from gptjax.inference.requests import QueueFull
from tests.support.chat_models import chat_model

pytest.importorskip("starlette", reason="needs the extra serve")
from starlette.testclient import TestClient

from gptjax.serving import life
from gptjax.serving.app import Options, make_app
from gptjax.serving.errors import APIError
from gptjax.serving.generation import started
from gptjax.serving.served import Limits, Models, Served
from gptjax.serving.streaming import event_stream

HELLO = [{"role": "user", "content": "hi"}]
SCOPE = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b""}


@pytest.fixture(scope="module")
def gate() -> threading.Event:
    return threading.Event()


@pytest.fixture(scope="module")
def ranking() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture(scope="module")
def served(gate, ranking):
    def slow(prompts, replies):
        ranking.release()
        gate.wait()
        return np.arange(float(len(replies)))

    limits = Limits(choices=8, prompts=40, beams=4)
    return Served(chat_model("chat", rankers={"slow": slow}, max_queue=64), limits)


@pytest.fixture(scope="module")
def client(served):
    app = make_app(Models([served]), Options(limits=served.limits))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def idle(served) -> None:
    while served.engine.running:
        time.sleep(0.001)


def failing(*args, **options):
    raise RuntimeError("out of memory at /home/secret")


def last_event(client, path, **asked) -> str:
    return client.post(f"/v1/{path}", json={"stream": True, **asked}).text.strip().split("\n\n")[-1]


def test_a_search_that_fails_ends_its_stream(client, served, monkeypatch):
    monkeypatch.setitem(vars(served.model), "beam_search", failing)
    last = last_event(client, "chat/completions", messages=HELLO, num_beams=2)
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["code"] == "server_error" and "secret" not in last


def test_a_batch_that_fails_is_an_error_event_to_responses(client, served, monkeypatch):
    monkeypatch.setattr(served.model.generator._batch, "_advance", failing)
    last = last_event(client, "responses", input="hi")
    said = json.loads(last.removeprefix("event: error\ndata: "))
    assert (said["type"], said["code"]) == ("error", "server_error") and "secret" not in last


def test_rankers_that_take_long_hold_up_nobody_else(client, gate, ranking):
    asked = {"messages": HELLO, "best_of": 8, "n": 8, "rank_by": "slow", "max_tokens": 1}
    with ThreadPoolExecutor(6) as pool:
        slow = [pool.submit(client.post, "/v1/chat/completions", json=asked) for _ in range(4)]
        try:
            assert all(ranking.acquire(timeout=60) for _ in slow)
            plain = pool.submit(
                client.post, "/v1/chat/completions", json={"messages": HELLO, "max_tokens": 1}
            )
            assert plain.result(timeout=60).status_code == 200
        finally:
            gate.set()
        assert {each.result().status_code for each in slow} == {200}


def test_a_search_that_nobody_waits_for_is_known_at_the_end(served):
    begun, go = threading.Event(), threading.Event()

    async def leave():
        task = asyncio.create_task(served.aside(lambda: (begun.set(), go.wait())))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.wait({task})
        return served.busy

    try:
        assert asyncio.run(leave())
    finally:
        go.set()
    while served.busy:
        time.sleep(0.001)


@pytest.mark.parametrize("policy", [Sampling(), BestOf(2)])
def test_texts_of_a_request_that_left_before_they_were_made_end(client, served, policy):
    del client  # whose application runs the engine
    joined, go, plain = threading.Event(), threading.Event(), served.engine.submit

    class Held:
        model, engine = served.model, None

        @staticmethod
        def submit(*args, **options):
            joined.set()
            go.wait()
            return made.append(plain(*args, **options)) or made[-1]

    made: list = []
    Held.engine = Held

    async def leave():
        asked = Asked(np.arange(1, 9, dtype=np.int32), max_new_tokens=80)
        task = asyncio.create_task(started(Held, policy, asked, 1))
        await asyncio.to_thread(joined.wait)
        task.cancel()
        await asyncio.wait({task})
        go.set()
        while not made or any(job.finished is None for job in made):
            await asyncio.sleep(0.001)

    asyncio.run(leave())
    idle(served)
    assert {job.finished for job in made} == {"cancelled"}


def test_a_stream_ends_its_texts_though_its_client_was_gone_before_the_first_event():
    ended = []

    async def events():
        yield {}

    async def gone():
        return {"type": "http.disconnect"}

    async def send(message):
        await asyncio.sleep(0)

    response = event_stream(events(), lambda: ended.append(True))
    asyncio.run(response({"type": "http"}, gone, send))
    assert ended == [True]


def test_a_body_that_breaks_off_is_no_fault_of_the_server(client):
    parts = [{"type": "http.request", "body": b"{", "more_body": True}]
    sent = []

    async def receive():
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    asyncio.run(client.app({**SCOPE, "headers": headers}, receive, send))
    assert sent == []
    figure = 'gptjax_requests_total{path="/v1/completions",status="499"} 1.0'
    assert figure in client.get("/metrics").text


def test_a_full_queue_refuses_a_stream_with_its_status(client, served, monkeypatch):
    def full(*args, **options):
        raise QueueFull("queue: full")

    monkeypatch.setattr(served.engine, "submit", full)
    refused = client.post("/v1/completions", json={"prompt": "a", "stream": True})
    assert refused.status_code == 429 and refused.headers["Retry-After"] == "1"


@pytest.mark.parametrize("stream", [False, True])
def test_a_queue_that_fills_up_later_delays_the_other_prompts_of_a_request(
    client, served, monkeypatch, stream
):
    submit, calls = served.engine.submit, []

    def full_now_and_then(*args, **options):
        calls.append(args)
        if len(calls) in (2, 3):
            raise QueueFull("queue: full")
        return submit(*args, **options)

    monkeypatch.setattr(served.engine, "submit", full_now_and_then)
    body = {"prompt": ["a", "b", "c"], "max_tokens": 1, "stream": stream}
    answered = client.post("/v1/completions", json=body)
    assert answered.status_code == 200 and '"error"' not in answered.text
    assert len(calls) == 5 and {f'"index":{number},' in answered.text for number in range(3)} == {
        True
    }


def test_a_client_that_never_reads_is_let_go(monkeypatch):
    gone = threading.Event()

    async def endless(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        hung_up = asyncio.ensure_future(receive())
        while not hung_up.done():
            body = bytes(1 << 20)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(0)  # to one that has gone it waits for nothing
        gone.set()

    monkeypatch.setattr(life, "UNREAD_SECONDS", 0.05)
    server = life.server_of(endless, 5)
    server.config.lifespan = "off"
    with life.bound("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
        thread.start()
        with socket.create_connection(listening.getsockname()) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert gone.wait(60)
        server.should_exit = True
        thread.join()


def test_what_is_wrong_with_the_model_names_no_field(client, served, monkeypatch):
    def unfit(*args, **options):
        raise ValueError("attention prefix(length=4): got 1 tokens at once, expected more")

    monkeypatch.setattr(served.engine, "submit", unfit)
    refused = client.post("/v1/completions", json={"prompt": "a"})
    assert refused.status_code == 400 and refused.json()["error"]["param"] is None


def test_a_model_that_is_not_finite_is_a_fault_of_the_server(client, served, monkeypatch):
    for part in (served.model.beam_search, served.model.scorer, served.model.embedder):
        broken = jax.tree.map(lambda x: x * np.nan, part._params)
        monkeypatch.setattr(part, "_params", broken)
    for path, body, what in (
        ("completions", {"prompt": "a", "num_beams": 2, "max_tokens": 2}, "logits"),
        ("completions", {"prompt": "ab", "echo": True, "logprobs": 1, "max_tokens": 0}, "logits"),
        ("embeddings", {"input": "a"}, "hidden states"),
    ):
        answered = client.post(f"/v1/{path}", json=body)
        assert (answered.status_code, answered.json()["error"]["message"]) == (
            500,
            f"model: got {what} that are not finite, expected finite ones",
        )


def test_the_texts_of_one_request_do_not_fill_the_queue_against_each_other(
    client, served, monkeypatch
):
    step, idle_steps = served.model.generator.step, iter(range(100))

    def lazy(count):
        if next(idle_steps, None) is None:
            step(count)
        else:
            time.sleep(0.002)  # others join

    monkeypatch.setattr(served.model.generator, "step", lazy)
    asked = {"prompt": [[65, 66]] * 16, "n": 8, "max_tokens": 1}
    made = client.post("/v1/completions", json=asked)
    assert made.status_code == 200 and len(made.json()["choices"]) == 128


def test_a_prompt_over_the_servers_limit_is_refused(client, served, monkeypatch):
    monkeypatch.setattr(served, "limits", Limits(prompt_tokens=4))
    asked = {"/v1/completions": {"prompt": "x" * 5}, "/v1/chat/completions": {"messages": HELLO}}
    for path, body in asked.items():
        refused = client.post(path, json=body)
        assert refused.status_code == 400 and "at most 4, this server's limit" in refused.text
        assert refused.json()["error"]["code"] == "context_length_exceeded"
    short = client.post("/v1/completions", json={"prompt": "x" * 4, "max_tokens": 1})
    assert short.status_code == 200


def test_a_streamed_text_after_its_prompt_begins_there(client):
    asked = {"prompt": "hello", "echo": True, "logprobs": 1, "max_tokens": 3, "seed": 1}
    whole = client.post("/v1/completions", json=asked).json()["choices"][0]["logprobs"]
    lines = client.post("/v1/completions", json={**asked, "stream": True}).text.split("\n\n")
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    offsets = [at for part in parts if part for at in part["text_offset"]]
    assert offsets == whole["text_offset"]


def test_events_are_one_line_to_every_reader_of_lines():
    async def events():
        yield {"text": "a\u2028b\x85c"}
        raise APIError("no\u2029more")

    async def lines():
        response = event_stream(events(), lambda: None)
        return "".join([part async for part in response.body_iterator])

    first, error = asyncio.run(lines()).strip().split("\n\n")
    assert len(first.splitlines()) == len(error.splitlines()) == 1
    assert json.loads(first[6:])["text"] == "a\u2028b\x85c"
