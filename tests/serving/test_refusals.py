"""What the API refuses: by name, with the status and the shape that OpenAI's clients know."""

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
from starlette.testclient import TestClient

from gptjax.serving.app import Options, make_app
from gptjax.serving.served import Limits, Models, Served

HELLO = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        ("chat", {"temprature": 1}, "temprature", "did you mean 'temperature'"),
        ("chat", {"temperature": 3}, "temperature", "got 3, expected a number of 0 to 2"),
        ("chat", {"temperature": True}, "temperature", "expected a number"),
        ("chat", {"n": 1.5}, "n", "expected an integer"),
        ("chat", {"n": 9}, "n", "expected at most 8"),
        ("chat", {"tools": [{"type": "function"}]}, "tools", "does not support it"),
        ("chat", {"response_format": {"type": "json_object"}}, "response_format", '"text"'),
        ("chat", {"messages": []}, "messages", "1 or more items"),
        ("chat", {"messages": None}, "messages", "Missing required"),
        ("chat", {"messages": [{"role": "tool", "content": "x"}]}, "messages", "expected one of"),
        ("chat", {"messages": [{"role": "user"}]}, "messages", "got no 'content'"),
        (
            "chat",
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages",
            "text",
        ),
        (
            "chat",
            {"messages": [*HELLO, {"role": "assistant", "content": ""}]},
            "messages",
            "last one",
        ),
        ("chat", {"messages": HELLO * 9}, "messages", "expected at most 8"),
        ("chat", {"top_logprobs": 2}, "logprobs", "without logprobs"),
        (
            "chat",
            {"max_tokens": 3, "max_completion_tokens": 4},
            "max_tokens",
            "expected one of them",
        ),
        ("chat", {"num_beams": 2, "temperature": 0.5}, "temperature", "which draw nothing"),
        ("chat", {"num_beams": 9}, "num_beams", "expected at most 4"),
        ("chat", {"rank_by": "nobody", "best_of": 2}, "rank_by", "expected one of: longest"),
        ("chat", {"logit_bias": {"261": 1}}, "logit_bias", "expected an id of 0 to 260"),
        ("chat", {"logit_bias": {"9" * 5000: 1}}, "logit_bias", "expected an id of 0 to 260"),
        ("chat", {"top_k": 10**400}, "top_k", "expected an integer of 1 to 2147483647"),
        ("chat", {"max_tokens": 2**31}, "max_tokens", "expected an integer of 1 to 2147483647"),
        ("chat", {"x" * 200: 1}, "x" * 80, "Unknown parameter"),
        ("chat", {"stop": [""]}, "stop", "expected a string"),
        ("chat", {"stream_options": {"include_usage": True}}, "stream_options", "without stream"),
        ("chat", {"assistant_tokens": [260]}, "messages", "mark of a turn"),
        ("completions", {"prompt": [999]}, "prompt", "got token 999"),
        ("completions", {"prompt": "x" * 96}, "prompt", "expected at most 95"),
        ("completions", {"suffix": "x"}, "suffix", "does not support it"),
        ("completions", {"max_tokens": 0}, "max_tokens", "without echo"),
        ("completions", {"prompt": ["a"] * 41}, "prompt", "expected at most 40"),
        ("embeddings", {"input": ""}, "input", "no end-of-text"),
        ("embeddings", {"input": "x", "dimensions": 3}, "dimensions", "expected 16"),
        (
            "responses",
            {"input": "x", "previous_response_id": "r"},
            "previous_response_id",
            "support",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_name(client, path, body, param, said):
    routes = {"chat": "/v1/chat/completions"}
    whole = ({"messages": HELLO} if path == "chat" else {}) | body
    refused = client.post(routes.get(path, f"/v1/{path}"), json=whole)
    error = refused.json()["error"]
    assert refused.status_code == 400, refused.text
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert said in error["message"], error["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b'{"messages": "\xff"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b" " * (1 << 21), "application/json", 413),
    ],
)
def test_bodies_that_are_no_json_objects_are_refused(client, content, kind, status):
    refused = client.post("/v1/completions", content=content, headers={"Content-Type": kind})
    assert refused.status_code == status and set(refused.json()["error"]) == {
        "message",
        "type",
        "param",
        "code",
    }


def test_paths_methods_hosts_and_keys(client, model):
    assert client.get("/v1/nothing").json()["error"]["code"] == "unknown_url"
    assert client.delete("/v1/models").status_code == 405
    assert client.post("/v1/models").status_code == client.post("/healthz").status_code == 405
    assert client.post("/v1/nothing").status_code == 404
    missing = client.post("/v1/completions", json={"model": "none"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/healthz", headers={"Host": "127.0.0.1:8000"}).json() == {"status": "ok"}
    limits = Limits()
    guarded = make_app(
        Models([Served(model, limits)]), Options(api_keys=("sesame",), loopback=False)
    )
    locked = TestClient(guarded)  # without its engines, which nothing here needs
    assert locked.get("/v1/models").status_code == 401
    assert locked.get("/v1/models", headers={"Authorization": "Bearer no"}).status_code == 401
    assert locked.get("/v1/models", headers={"Authorization": "Bearer sesame"}).status_code == 200
    assert locked.get("/healthz", headers={"Host": "evil.example"}).status_code == 200
    assert (
        "access-control-allow-origin" not in locked.get("/healthz", headers={"Origin": "x"}).headers
    )
