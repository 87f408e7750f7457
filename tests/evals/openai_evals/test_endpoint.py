"""A server with OpenAI's interface, beside a small one that answers as told."""

import json

import pytest

from gptjax.evals.openai_evals.classes.base import Call, Event
from gptjax.evals.openai_evals.completion import Answer, Failure
from gptjax.evals.openai_evals.endpoint import Endpoint
from gptjax.evals.openai_evals.log import Log, RunSpec
from gptjax.evals.openai_evals.sending import send
from tests.support.http_stub import said, server

CHAT = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1"}]


def made(url, options=None, **more):
    return Endpoint(url, options or {}, first_wait=0.001, **more)


def test_a_chat_and_a_text_go_to_the_ends_that_the_address_names(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    calls = [Call(CHAT, {"temperature": 0.0}), Call("Say.", {"max_tokens": 3})]
    with server(lambda *_: said("2")) as (url, requests):
        for address in ("/v1#m", "/v1/chat/completions#m", "/v1/completions#m"):
            found = dict(made(f"{url}{address}", {"max_tokens": 9}).answers(calls))
            assert found[0] == Answer("2", {"model": "m-1", "usage": {"total_tokens": 2}})
    bodies = {(path, json.dumps(body, sort_keys=True)) for path, body, _ in requests}
    more = {"model": "m", "max_tokens": 9}
    say = [{"role": "system", "content": "Say."}]
    expected = [
        ("/v1/chat/completions", {**more, "messages": CHAT, "temperature": 0.0}),
        ("/v1/chat/completions", {**more, "messages": say}),
        ("/v1/completions", {**more, "prompt": "Add.\nUser: 1+1\nAssistant:", "temperature": 0.0}),
        ("/v1/completions", {**more, "prompt": "Say."}),
    ]
    assert bodies == {(path, json.dumps(body, sort_keys=True)) for path, body in expected}
    assert {headers["Authorization"] for _, _, headers in requests} == {"Bearer secret"}


def test_without_a_name_the_model_is_the_servers_first():
    models = {"data": [{"id": "first"}, {"id": "second"}]}
    with server(lambda *_: (200, models)) as (url, _):
        assert made(f"{url}/v1").identity == f"{url}/v1/chat/completions#first"
    with (
        server(lambda *_: (200, {})) as (url, _),
        pytest.raises(ValueError, match="got no models, expected one, or a model as URL#M"),
    ):
        made(f"{url}/v1")
    with pytest.raises(ValueError, match="for its models, expected a server with OpenAI's inter"):
        made("http://127.0.0.1:1/v1", tries=1)


def test_no_key_is_needed(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with server(lambda *_: said("2")) as (url, requests):
        assert dict(made(f"{url}/v1#m").answers([Call("x", {})]))[0].text == "2"
    assert "Authorization" not in requests[0][2]


def test_what_fails_for_a_while_is_asked_again():
    error = {"error": {"message": "slow\ndown"}}
    with server(lambda *asked: said("2") if asked[2] > 3 else (429, error)) as (url, requests):
        ((_, answer),) = made(f"{url}/v1#m").answers([Call("x", {})])
    assert answer.text == "2" and len(requests) == 4


@pytest.mark.parametrize(
    ("reply", "tries", "failure"),
    [
        ((500, {"error": {"message": "bro\nken"}}), 3, ("HTTPError", "HTTP 500: bro ken")),
        ((400, {"error": {"message": "too long"}}), 1, ("HTTPError", "HTTP 400: too long")),
        ((400, []), 1, ("HTTPError", "HTTP 400: []")),
        ((200, {"choices": []}), 1, ("NoCompletion", 'the server answered {"choices": []}')),
        ((200, said(None)[1]), 1, ("NoCompletion", "the server answered a choice of None")),
    ],
)
def test_what_fails_for_good_is_a_failure(reply, tries, failure):
    with server(lambda *_: reply) as (url, requests):
        ((_, answer),) = made(f"{url}/v1#m", tries=3).answers([Call("x", {})])
    assert answer == Failure(*failure) and len(requests) == tries


def test_what_all_calls_would_meet_ends_the_run():
    with (
        server(lambda *_: (401, {"error": {"message": "bad key"}})) as (url, requests),
        pytest.raises(ValueError, match="got HTTP 401: bad key, expected answers"),
    ):
        list(made(f"{url}/v1#m").answers([Call("x", {})] * 3))
    assert len(requests) <= 3


def test_no_server_is_a_failure():
    ((_, answer),) = made("http://127.0.0.1:1/v1#m", tries=2).answers([Call("x", {})])
    assert isinstance(answer, Failure) and "refused" in answer.message


def test_events_are_sent_in_parts(tmp_path):
    path = tmp_path / "one.jsonl"
    with Log(path, RunSpec(["f"], "a.b.c", {}, "me"), "match") as log:
        for i in range(4):
            log.add(f"a.b.{i}", [Event("match", {"correct": True})])
        log.report({"accuracy": 1.0})
    with server(lambda *_: (200, {})) as (url, requests):
        assert send(path, url, batch_size=2, most_failed=0) == 5
    assert [len(body) for _, body, _ in requests] == [2, 2, 1]
    last = requests[-1][1][0]
    assert (last["type"], last["data"], last["event_id"]) == ("final_report", {"accuracy": 1.0}, 4)
    with server(lambda *asked: (200 if asked[2] > 1 else 500, {})) as (url, _):
        assert send(path, url, batch_size=2, most_failed=40) == 3
    with (
        server(lambda *asked: (200 if asked[2] > 1 else 500, {})) as (url, _),
        pytest.raises(ValueError, match="for 2 of 5 events, expected at most 39%; all are in"),
    ):
        send(path, url, batch_size=2, most_failed=39)
