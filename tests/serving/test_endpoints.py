"""The API over a small model in this process: shapes, the library's own figures, refusals."""

import base64
import functools
import json
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from gptjax.chat.embeddings import Embedder
from gptjax.chat.replies import Sampling
from gptjax.inference.generate import Generator
from gptjax.inference.scoring import Scorer

pytest.importorskip("starlette", reason="needs the extra serve")


HELLO = [{"role": "user", "content": "hi"}]


def ask(client, path="/v1/chat/completions", **body):
    answered = client.post(path, json=body)
    assert answered.status_code == 200, answered.text
    return answered.json()


def chat(client, **body):
    return ask(client, **{"messages": HELLO, "max_tokens": 6, "seed": 7} | body)


def events(client, path="/v1/chat/completions", **body):
    lines = client.post(path, json={"stream": True, **body}).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def alone(model, messages, index=0, most=6, seed=7, **options) -> tuple[str, list[float]]:
    """What the library writes when nothing else runs."""
    from gptjax.data.dialogue.chat_format import Message

    marks = model.template.tokenizer
    request = Generator(model.model, model.params).submit(
        model.template.prompt([Message(**message) for message in messages]),
        max_new_tokens=most,
        sampler=Sampling(**options).sampler(model, marks.outside_answers),
        seed=seed,
        sample_index=index,
        stop_token=marks.end_of_turn,
    )
    return model.template.response(request.result())[0], request.log_probs


def test_texts_equal_those_of_the_same_requests_alone_whatever_shares_the_batch(client, model):
    """With seeds, streamed and whole, several choices, while others of all kinds run."""
    said = [[{"role": "user", "content": "x" * (1 + i)}] for i in range(6)]

    def one(i):
        if i % 3 == 0:
            return [c["message"]["content"] for c in chat(client, messages=said[i], n=2)["choices"]]
        if i % 3 == 1:
            return [
                chat(client, messages=said[i], temperature=0)["choices"][0]["message"]["content"]
            ]
        got = events(client, messages=said[i], max_tokens=6, seed=7)
        return ["".join(e["choices"][0]["delta"].get("content", "") for e in got)]

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(one, range(6)))
    for i, texts in enumerate(made):
        options = {"temperature": 0.0} if i % 3 == 1 else {}
        assert texts == [alone(model, said[i], j, **options)[0] for j in range(len(texts))]


def test_log_probabilities_are_the_models_and_hold_the_token_itself(client, model):
    made = chat(client, logprobs=True, top_logprobs=3)
    listed = made["choices"][0]["logprobs"]["content"]
    text, log_probs = alone(model, HELLO)
    assert b"".join(bytes(each["bytes"]) for each in listed).decode(errors="replace") == text
    np.testing.assert_allclose(
        [each["logprob"] for each in listed], log_probs[: len(listed)], atol=1e-5
    )
    for each in listed:
        tops = [top["logprob"] for top in each["top_logprobs"]]
        assert len(tops) == 3 and tops == sorted(tops, reverse=True)
        beside = {top["id"]: top["logprob"] for top in each["top_logprobs"]}
        assert beside.get(each["id"], each["logprob"]) == each["logprob"]
    streamed = events(client, messages=HELLO, max_tokens=6, seed=7, logprobs=True, top_logprobs=3)
    parts = [e["choices"][0]["logprobs"] for e in streamed if e["choices"][0]["logprobs"]]
    assert [each for part in parts for each in part["content"]] == listed


def test_a_reply_goes_on_from_text_and_from_tokens(client, model):
    whole = chat(client, temperature=0, logprobs=True)
    ids = [each["id"] for each in whole["choices"][0]["logprobs"]["content"]]
    text = whole["choices"][0]["message"]["content"]
    rest = chat(client, temperature=0, assistant_tokens=ids[:2], max_tokens=4)
    assert rest["choices"][0]["message"]["content"] == model.tokenizer.decode(ids[2:])
    begun = [*HELLO, {"role": "assistant", "content": "ok"}]
    one = chat(client, messages=begun, continue_final_message=True, temperature=0)
    two = chat(client, assistant_tokens=list(b"ok"), temperature=0)
    assert one["choices"] == two["choices"] and text


def test_usage_room_and_what_is_counted_at_the_end_of_a_stream(client):
    made = chat(client)
    assert made["usage"]["total_tokens"] == sum(
        made["usage"][f"{part}_tokens"] for part in ("prompt", "completion")
    )
    assert made["gptjax"]["room"] == 96 - made["usage"]["total_tokens"]
    got = events(
        client, messages=HELLO, max_tokens=6, seed=7, stream_options={"include_usage": True}
    )
    assert got[-1]["choices"] == [] and got[-1]["usage"] == made["usage"]
    assert all(event["usage"] is None for event in got[:-1])
    assert got[0]["choices"][0]["delta"]["role"] == "assistant"
    assert got[-2]["gptjax"] == made["gptjax"]
    assert got[-2]["choices"][0]["finish_reason"] == made["choices"][0]["finish_reason"] == "stop"


def test_beams_and_rankers_choose_and_say_so(client):
    beams = chat(client, num_beams=3, n=2)
    assert len(beams["choices"]) == 2 and beams["gptjax"]["policy"] == "num_beams=3"
    draws = [c["message"]["content"] for c in chat(client, n=5, stop=["e"])["choices"]]
    best = chat(client, best_of=5, rank_by="longest", stop=["e"])["choices"][0]["message"][
        "content"
    ]
    assert best == max(draws, key=len)
    two_of_five = chat(client, best_of=5, n=2)["usage"]
    assert two_of_five == chat(client, n=5)["usage"] != chat(client, n=2)["usage"]
    (found,) = [
        e for e in events(client, messages=HELLO, num_beams=3, max_tokens=6) if e.get("gptjax")
    ]
    assert found["gptjax"]["policy"] == "num_beams=3"


def test_stop_strings_biases_and_bans(client):
    text = chat(client, logit_bias={"97": 100}, max_tokens=4)
    assert text["choices"][0]["message"]["content"] == "aaaa"
    cut = chat(client, logit_bias={"97": 100}, max_tokens=9, stop="aaa", logprobs=True)
    assert (
        cut["choices"][0]["message"]["content"] == ""
        and cut["choices"][0]["finish_reason"] == "stop"
    )
    assert cut["choices"][0]["logprobs"]["content"] == []
    banned = chat(
        client, logit_bias={"97": 100, "98": 99, "99": -100}, presence_penalty=2, max_tokens=5
    )
    assert set(banned["choices"][0]["message"]["content"]) <= {"a", "b"}


def test_prompts_of_a_stream_are_continued_side_by_side(client):
    asked = {"prompt": ["ab", "cd", "ef"], "n": 2, "max_tokens": 8, "seed": 3, "echo": True}
    bans = {"logit_bias": {"256": -100}, "logprobs": 1}
    whole = ask(client, "/v1/completions", **asked, **bans)
    options = {"stream_options": {"include_usage": True}}
    got = events(client, "/v1/completions", **asked, **bans, **options)
    order = [event["choices"][0]["index"] for event in got[:-1]]
    assert order != sorted(order) and got[-1]["usage"] == whole["usage"]
    texts = [""] * 6
    for event in got[:-1]:
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == [choice["text"] for choice in whole["choices"]]
    assert [number for number, event in enumerate(got) if "gptjax" in event] == [len(got) - 2]


def test_prompts_are_scored_as_the_scorer_scores_them(client, model):
    """As lm-eval's local-completions asks: ids, one new token, the token always among the best."""
    prompts = [list(b"hello"), list(b"a longer one"), [65]]
    asked = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
    made = ask(client, "/v1/completions", prompt=prompts, **asked)
    scorer = Scorer(model.model, model.params)
    assert [choice["index"] for choice in made["choices"]] == [0, 1, 2]
    for prompt, choice in zip(prompts, made["choices"], strict=True):
        given = choice["logprobs"]
        assert len(given["tokens"]) == len(prompt) + 1 and given["token_logprobs"][0] is None
        assert given["top_logprobs"][0] is None
        assert choice["text"].startswith(bytes(prompt).decode())
        if len(prompt) > 1:
            (score,) = scorer.score([(np.array(prompt[:1]), np.array(prompt[1:]))])
            np.testing.assert_allclose(given["token_logprobs"][1:-1], score.log_probs, atol=1e-5)
            greedy = all(
                value == max(top.values())
                for value, top in zip(
                    given["token_logprobs"][1:-1], given["top_logprobs"][1:-1], strict=True
                )
            )
            assert greedy == score.greedy
        last = given["top_logprobs"][-1]
        assert last[given["tokens"][-1]] == given["token_logprobs"][-1] == max(last.values())
    whole = ask(client, "/v1/completions", prompt="hello", echo=True, max_tokens=0)
    assert whole["choices"][0]["text"] == "hello"


def test_a_model_without_a_chat_continues_text_and_says_what_is_missing(client):
    made = ask(client, "/v1/completions", model="plain", prompt="ab", max_tokens=3, seed=1)
    assert made["model"] == "plain" and len(made["choices"]) == 1
    refused = client.post("/v1/chat/completions", json={"model": "plain", "messages": HELLO})
    assert refused.status_code == 400
    assert (
        "plain has a tokenizer of kind raw_bytes, expected one with the marks of a chat"
        in refused.text
    )
    shown = {each["id"]: each["gptjax"]["chat"] for each in client.get("/v1/models").json()["data"]}
    assert shown == {"chat": True, "plain": False}
    assert client.get("/v1/models/plain").json()["id"] == "plain"


def test_embeddings_are_mean_hidden_states_in_either_form(client, model):
    texts = ["hello", "a longer text of these"]
    plain = ask(client, "/v1/embeddings", input=texts)["data"]
    coded = ask(client, "/v1/embeddings", input=texts, encoding_format="base64")["data"]
    apply = jax.jit(functools.partial(model.model.apply, method="hidden"))
    for text, one, other in zip(texts, plain, coded, strict=True):
        tokens = model.tokenizer.encode(text)
        hidden, _ = apply({"params": model.params}, tokens[None])
        np.testing.assert_allclose(one["embedding"], np.asarray(hidden)[0].mean(0), atol=1e-5)
        got = np.frombuffer(base64.b64decode(other["embedding"]), "<f4")
        np.testing.assert_array_equal(got, np.array(one["embedding"], np.float32))
    assert isinstance(model.embedder, Embedder)


def test_responses_are_the_same_text_whole_and_streamed(client):
    asked = {"input": "hi", "max_output_tokens": 6, "seed": 7}
    whole = ask(client, "/v1/responses", **asked)
    text = whole["output"][0]["content"][0]["text"]
    assert text == chat(client)["choices"][0]["message"]["content"]
    assert (whole["status"], whole["incomplete_details"]) == ("completed", None)
    cut = ask(client, "/v1/responses", input="hi", max_output_tokens=1, seed=7)
    assert (cut["status"], cut["incomplete_details"]["reason"]) == (
        "incomplete",
        "max_output_tokens",
    )
    lines = client.post("/v1/responses", json={**asked, "stream": True}).text.strip().split("\n\n")
    got = [json.loads(line.split("\ndata: ")[1]) for line in lines]
    assert [line.split("\n")[0] for line in lines] == [f"event: {event['type']}" for event in got]
    assert [event["sequence_number"] for event in got] == list(range(len(got)))
    assert "".join(e["delta"] for e in got if e["type"].endswith("text.delta")) == text
    assert got[-1]["response"]["output"][0]["content"][0]["text"] == text


def test_tokens_there_and_back(client, model):
    made = ask(client, "/tokenize", prompt="hé", return_token_strs=True)
    assert made["tokens"] == list("hé".encode()) and made["count"] == 3
    assert made["token_strs"] == ["h", "bytes:\\xc3", "bytes:\\xa9"]
    assert ask(client, "/detokenize", tokens=made["tokens"]) == {"prompt": "hé"}
    counted = ask(client, "/tokenize", messages=HELLO)
    assert counted["count"] == chat(client)["usage"]["prompt_tokens"]
    assert client.get("/tokenizer_info?model=plain").json()["model_max_length"] == 96


def test_dropped_turns_are_opted_in_and_reported(client):
    long = [{"role": "system", "content": "be"}] + [
        {"role": role, "content": role[0] * 20} for role in ("user", "assistant") * 2
    ]
    long.append({"role": "user", "content": "now"})
    refused = client.post("/v1/chat/completions", json={"messages": long})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    made = chat(client, messages=long, context_overflow="drop_oldest", max_tokens=20)
    assert made["gptjax"]["dropped_messages"] == [1, 2]
    named = [{"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "Ann"}]
    assert chat(client, messages=named)["gptjax"]["ignored"] == ["messages[0].name"]


def test_optional_fields_may_be_null(client):
    nothing = dict.fromkeys(
        ("temperature", "top_p", "n", "stop", "logit_bias", "tools", "response_format", "logprobs")
    )
    assert chat(client, **nothing)["choices"] == chat(client)["choices"]


def test_figures_and_documents(client):
    chat(client)
    text = client.get("/metrics").text
    assert 'gptjax_requests_total{path="/v1/chat/completions",status="200"}' in text
    assert 'gptjax_generated_tokens_total{model="chat"}' in text and "gptjax_slots_running" in text
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    assert "min_p" in json.dumps(body) and "min_p" in client.get("/docs").text
