"""A server's process: what a client that leaves frees, what SIGTERM finishes, what is refused."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
import httpx

from tests.serving.live import live
from tests.support.binaries import call
from tests.support.chat_models import chat_model

pytestmark = pytest.mark.slow
HELLO = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_place(stream, monkeypatch):
    from gptjax.serving import served as room

    made = []
    plain = room.Served.__init__
    monkeypatch.setattr(
        room.Served, "__init__", lambda self, *args: (plain(self, *args), made.append(self))[0]
    )
    model = chat_model("tiny")
    step, steps, gate = model.generator.step, [], threading.Event()

    def slow(count):
        step(1)
        steps.append(count)
        gate.wait(0.02)

    monkeypatch.setattr(model.generator, "step", slow)
    with live(model) as address:
        port = int(address.rpartition(":")[2])
        body = json.dumps(
            {"messages": HELLO, "stream": stream, "logit_bias": {"260": -100, "97": 50}}
        )
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n"
        )
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(head.encode() + body.encode())
        while len(steps) < 3:
            time.sleep(0.01)
        client.close()
        while made[0].engine.running:
            time.sleep(0.01)
        assert len(steps) < 60  # of the 90 that the context has room for


@pytest.fixture(scope="module")
def process(trained, tmp_path_factory):
    """A server of the trained chat model, and its address."""
    command = [sys.executable, "-m", "experiments.serve", f"--workdir=sft={trained('sft').path}"]
    started = subprocess.Popen([*command, "--port=0"], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    yield started, started.stdout.readline().split()[-1]
    started.kill()
    started.wait()


def test_sigterm_finishes_what_runs_refuses_what_is_new_and_ends_with_0(process):
    server, address = process
    body = {"messages": HELLO, "seed": 1, "stream": True}
    with httpx.stream("POST", f"{address}v1/chat/completions", json=body, timeout=120) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        server.send_signal(signal.SIGTERM)
        rest = list(lines)
    assert first.startswith("data: ") and rest[-2] == "data: [DONE]"
    assert server.wait(timeout=60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}healthz")


def test_what_keeps_a_server_from_starting_is_one_line(trained, tmp_path):
    path = trained("sft").path
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"SQLite format 3" + bytes(200))
    assert (
        "damaged.db" in call("serve", f"--workdir={path}", "--port=0", f"--store={damaged}").refusal
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refusal = call("serve", f"--workdir={path}", f"--port={port}", "--store=none").refusal
    assert f"127.0.0.1:{port}: Address already in use; expected a free address" in refusal
    assert (
        "expected the directory of a run"
        in call("serve", f"--workdir={tmp_path}", "--port=0", "--store=none").refusal
    )
    assert (
        "expected NAME=VALUE"
        in call("serve", f"--workdir={path}", "--ranker=x", "--store=none").refusal
    )
    assert "expected the work directory" in call("serve").refusal
    missing = call("serve", f"--workdir={path}", f"--api_key_file={tmp_path / 'none'}").refusal
    assert "expected a file with a key a line" in missing
