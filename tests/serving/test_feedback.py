"""Routes of feedback, over HTTP as the page has them."""

import concurrent.futures
import threading

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gptjax.data.feedback.opening import open_store
from gptjax.data.feedback.records import kept_conversation, ranked_replies, vote
from gptjax.serving.feedback import feedback_routes
from tests.support.said import ranking, talk, thumb

RANKING = ranking("q", {"a": 1, "b": 2}, labels=[{"harmful": None}, {"hallucination": True}])


@pytest.fixture
def store(tmp_path):
    with open_store(f"{tmp_path}/feedback.db", create=True) as store:
        yield store


def client_of(store):
    return TestClient(Starlette(routes=feedback_routes(store)))


def test_what_is_sent_is_in_the_store(store):
    client = client_of(store)
    assert client.get("/feedback").json() == {
        "enabled": True,
        "rankings": 0,
        "votes": 0,
        "conversations": 0,
    }
    sent = [
        ("rankings", RANKING),
        ("votes", thumb("q", "a", -1)),
        ("conversations", talk("q", "a")),
    ]
    for number, (name, body) in enumerate(sent, start=1):
        answer = client.post(f"/feedback/{name}", json=body)
        assert (answer.status_code, answer.json()) == (200, {"id": number})
    assert client.get("/feedback").json()["votes"] == 1
    assert list(store.rankings()) == [(1, ranked_replies(RANKING))]
    assert list(store.votes()) == [(2, vote(thumb("q", "a", -1)))]
    assert list(store.conversations()) == [(3, kept_conversation(talk("q", "a")))]
    table = client.get("/feedback/ratings").json()
    assert [each["name"] for each in table["players"]] == ["sft", "ppo"]
    assert table["comparisons"] == 1
    best = table["players"][0]
    assert best["low"] < best["rating"] < best["high"] and best["games"] == 1
    assert client.get("/feedback/ratings").json() == table
    client.post("/feedback/rankings", json=RANKING)
    assert client.get("/feedback/ratings").json()["comparisons"] == 2


@pytest.mark.parametrize(
    ("name", "body", "param", "message"),
    [
        ("rankings", b'{"prompt": [', None, "body: got what is not JSON, expected an object"),
        ("rankings", b"\xff", None, "body: got what is not JSON"),
        ("votes", b"[" * 100_000, None, "body: got what is not JSON"),
        ("votes", b"[]", "vote", "vote: got [], expected an object"),
        (
            "conversations",
            b'{"messages": [], "model": ""}',
            "messages",
            "messages: got 0, expected",
        ),
    ],
)
def test_bad_bodies_are_answered_as_openai_does(store, name, body, param, message):
    answer = client_of(store).post(f"/feedback/{name}", content=body)
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["message"].startswith(message)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, None)
    assert store.last() == 0


def test_a_store_that_fails_is_the_servers_error(store, monkeypatch):
    def full(said):
        raise OSError("store of feedback 'x': database or disk is full")

    monkeypatch.setattr(store, "add", full)
    answer = client_of(store).post("/feedback/votes", json=thumb("q", "a", 1))
    assert answer.status_code == 503
    assert answer.json()["error"] == {
        "message": "store of feedback 'x': database or disk is full",
        "type": "server_error",
        "param": None,
        "code": None,
    }


def test_a_server_without_a_store_says_so():
    client = client_of(None)
    assert client.get("/feedback").json() == {
        "enabled": False,
        "rankings": 0,
        "votes": 0,
        "conversations": 0,
    }
    for answer in (
        client.post("/feedback/votes", json=thumb("q", "a", 1)),
        client.get("/feedback/ratings"),
    ):
        assert answer.status_code == 404 and "--store" in answer.json()["error"]["message"]


def test_a_slow_store_holds_up_nobody(store, monkeypatch):
    """While a vote waits for the disk, the loop answers others."""
    add, waiting, free = store.add, threading.Event(), threading.Event()

    def slow(said):
        waiting.set()
        assert free.wait(60)
        return add(said)

    monkeypatch.setattr(store, "add", slow)
    with client_of(store) as client, concurrent.futures.ThreadPoolExecutor(1) as others:
        sent = others.submit(client.post, "/feedback/votes", json=thumb("q", "a", 1))
        assert waiting.wait(60)
        assert client.get("/feedback").json()["votes"] == 0
        free.set()
        assert sent.result().json() == {"id": 1}
