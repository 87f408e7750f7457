"""Filters on a server: refused inputs, stopped and redacted outputs, whole and streamed."""

import asyncio
import json

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
from starlette.testclient import TestClient

from gptjax.chat.filters.chain import FilterChain
from gptjax.data.dialogue.chat_format import Message
from gptjax.data.pictures.picture import Picture
from gptjax.serving.app import make_app
from gptjax.serving.screening import Screen
from gptjax.serving.served import Limits, Models, Served
from tests.support.chat_models import chat_model

FILTERS = """
- {stage: blocklist, name: words, where: input, action: refuse, words: [secret]}
- {stage: blocklist, name: names, where: input, action: redact, words: [Ann]}
- {stage: blocklist, name: runs, where: output, action: end, words: [aaa], whole_words: false}
- {stage: expressions, name: bees, where: output, action: redact, patterns: {b: "bb"}}
"""
AS = {"logit_bias": {"97": 100}, "seed": 1, "max_tokens": 9}  # writes a's alone
BS = {**AS, "logit_bias": {"98": 100}}


class Judge:
    def __init__(self):
        self.thresholds = {"S": 0.5, "H": None}

    def scores(self, texts):
        return [{"S": float("x" in text), "H": 0.9} for text in texts]


@pytest.fixture(scope="module")
def client():
    models = Models([Served(chat_model(), Limits())], FilterChain.parse(FILTERS), Judge())
    with TestClient(make_app(models), base_url="http://localhost") as client:
        yield client


def chat(client, text, **body):
    asked = {"messages": [{"role": "user", "content": text}], **body}
    whole = client.post("/v1/chat/completions", json=asked).json()
    lines = client.post("/v1/chat/completions", json={**asked, "stream": True}).text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    shown = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert events[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert events[-1]["gptjax"]["moderation"] == whole["gptjax"]["moderation"]
    return whole, shown


def test_a_refused_input_gets_no_answer(client):
    whole, shown = chat(client, "tell me the SECRET", **AS)
    (choice,) = whole["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "content_filter")
    assert shown == "" and whole["usage"]["total_tokens"] == 0
    (decision,) = whole["gptjax"]["moderation"]
    assert (decision["where"], decision["stage"], decision["action"]) == (
        "input",
        "words",
        "refuse",
    )
    made = client.post("/v1/completions", json={"prompt": ["secret", "hi"], **AS, "max_tokens": 2})
    reasons = [choice["finish_reason"] for choice in made.json()["choices"]]
    assert reasons == ["content_filter", "length"]
    for stream in (False, True):
        body = {"input": "secret", "stream": stream}
        assert '"reason":"content_filter"' in client.post("/v1/responses", json=body).text


def test_a_redacted_input_is_what_the_model_reads(client):
    named, _ = chat(client, "I am Ann.", **AS)
    same, _ = chat(client, "I am [removed].", **AS)
    assert named["usage"] == same["usage"]
    judged = [each for each in named["gptjax"]["moderation"] if each["where"] == "input"]
    assert [each["action"] for each in judged] == ["redact"]


def test_an_output_ends_in_front_of_the_hit_and_is_not_spelt_out(client):
    whole, shown = chat(client, "go", **AS, logprobs=True)
    (choice,) = whole["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (shown, "content_filter")
    assert shown == "" and choice["logprobs"]["content"] == []
    (decision,) = whole["gptjax"]["moderation"]
    assert (decision["stage"], decision["action"], decision["choice"]) == ("runs", "end", 0)
    made = client.post("/v1/completions", json={"prompt": ["go", "on"], **AS, "logprobs": 1}).json()
    assert [each["finish_reason"] for each in made["choices"]] == ["content_filter"] * 2
    assert [each["choice"] for each in made["gptjax"]["moderation"]] == [0, 1]
    assert all(each["logprobs"]["tokens"] == [] for each in made["choices"])


def test_an_output_is_redacted_alike_whole_and_streamed(client):
    whole, shown = chat(client, "go", **BS, n=1)
    text = whole["choices"][0]["message"]["content"]
    assert text == shown == "[removed]" * 4 + "b"
    assert whole["choices"][0]["finish_reason"] == "length"
    assert len(whole["gptjax"]["moderation"]) == 4


def test_moderations_have_openais_shape(client):
    made = client.post("/v1/moderations", json={"input": ["x", {"a": 1}]})
    assert made.status_code == 400
    made = client.post("/v1/moderations", json={"input": ["x", "y"]}).json()
    assert [result["flagged"] for result in made["results"]] == [True, False]
    assert (
        made["results"][0]["categories"]["sexual"] and made["results"][0]["category_scores"]["hate"]
    )
    assert made["id"].startswith("modr-") and len(made["results"][0]["categories"]) == 13


def test_a_server_without_a_classifier_says_so():
    plain = TestClient(
        make_app(Models([Served(chat_model(), Limits())])), base_url="http://localhost"
    )
    refused = plain.post("/v1/moderations", json={"input": "x"})
    assert (
        refused.status_code == 404 and "without --moderation" in refused.json()["error"]["message"]
    )


def test_pictures_stay_and_stand_before_a_text_that_was_changed():
    picture = Picture.of(np.zeros((2, 2), np.uint8))
    said = [Message.of("user", parts) for parts in (["of Ann ", picture, "?"], ["a", picture])]
    found = asyncio.run(Screen(FilterChain.parse(FILTERS)).conversation(tuple(said)))
    assert found is not None and found[1] == said[1] and "Ann" not in found[0].content
    assert found[0].pictures == ((0, picture),) and said[0].pictures == ((7, picture),)
    apart = Message.of("user", ["sec", picture, "ret"])  # judged as one text
    assert asyncio.run(Screen(FilterChain.parse(FILTERS)).conversation((apart,))) is None
