"""Programs that use OpenAI's API, unmodified, against a server of ours."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from typing import get_type_hints

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("openai", reason="needs the extra clients")
import openai
from openai import types
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk, completion_create_params
from openai.types.responses import Response, response_create_params

from gptjax.evals.openai_evals.functions import Functions
from gptjax.evals.openai_evals.registry import Registry
from gptjax.evals.openai_evals.run import Settings, opened
from gptjax.serving.endpoints import (
    chat_completions,
    completions,
    embeddings,
    moderations,
    responses,
)
from tests.serving.live import live
from tests.support.chat_models import chat_model

pytestmark = pytest.mark.slow
HELLO = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def server():
    with live(chat_model("tiny", max_queue=64)) as address:
        yield address


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


def test_openai_chats_whole_and_streamed(client):
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": 6, "seed": 7}
    whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    pieces, counted = [], None
    for chunk in client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ):
        counted = chunk.usage
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content and counted == whole.usage
    with client.chat.completions.stream(**asked) as stream:
        assert stream.get_final_completion().choices[0].message.content == "".join(pieces)


def test_openai_async_completes_embeds_and_responds(server):
    async def all_of_it():
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none") as client:
            texts = await asyncio.gather(
                *(
                    client.completions.create(model="tiny", prompt="ab", max_tokens=4, seed=i)
                    for i in range(6)
                )
            )
            embedded = await client.embeddings.create(model="tiny", input=["a", "b"])
            response = await client.responses.create(model="tiny", input="hi", max_output_tokens=5)
            streamed = [
                event
                async for event in await client.responses.create(
                    model="tiny", input="hi", max_output_tokens=5, stream=True
                )
            ]
            models = [model.id async for model in client.models.list()]
        return texts, embedded, response, streamed, models

    texts, embedded, response, streamed, models = asyncio.run(all_of_it())
    assert len({text.id for text in texts}) == 6 and models == ["tiny"]
    assert len(embedded.data[0].embedding) == 16 and isinstance(
        embedded.data[0].embedding[0], float
    )
    assert response.output_text is not None and streamed[-1].type.startswith("response.")


def test_openai_understands_errors(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=HELLO * 60)
    assert caught.value.code == "context_length_exceeded" and caught.value.param == "messages"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_answers_fit_the_published_shapes(server):
    """Those of the openai package, made of the published specification; here they are enforced."""
    import httpx

    asked = {"messages": HELLO, "max_tokens": 4, "logprobs": True, "top_logprobs": 2, "n": 2}
    for path, body, shape in (
        ("chat/completions", asked, ChatCompletion),
        ("completions", {"prompt": ["a", "b"], "logprobs": 2, "max_tokens": 3}, Completion),
        ("embeddings", {"input": "a"}, CreateEmbeddingResponse),
        ("responses", {"input": "a", "max_output_tokens": 3}, Response),
    ):
        answered = httpx.post(f"{server}/v1/{path}", json=body, timeout=120).json()
        shape.model_validate(answered, strict=path != "responses")
    Model.model_validate(httpx.get(f"{server}/v1/models/tiny").json(), strict=True)
    body = {"messages": HELLO, "max_tokens": 3, "stream": True}
    lines = httpx.post(f"{server}/v1/chat/completions", json=body, timeout=60).text.split("\n\n")
    for line in lines[:-2]:
        ChatCompletionChunk.model_validate(json.loads(line.removeprefix("data: ")), strict=True)


def test_every_field_of_the_published_requests_is_known():
    """Each is read or refused by name; the package's classes are made of the specification."""
    published = {
        chat_completions: completion_create_params.CompletionCreateParamsStreaming,
        completions: types.completion_create_params.CompletionCreateParamsStreaming,
        embeddings: types.EmbeddingCreateParams,
        moderations: types.ModerationCreateParams,
        responses: response_create_params.ResponseCreateParamsStreaming,
    }
    for operation, fields in published.items():
        assert set(get_type_hints(fields)) <= set(operation.FIELDS), operation.__name__


def test_langchain_chats_completes_and_sees_an_overflow(server):
    langchain = pytest.importorskip("langchain_openai")
    from langchain_core.exceptions import ContextOverflowError

    options = {"base_url": f"{server}/v1", "api_key": "none", "model": "tiny", "max_retries": 0}
    chat = langchain.ChatOpenAI(**options, max_tokens=5, seed=2)
    whole = chat.invoke("hi").content
    assert "".join(piece.content for piece in chat.stream("hi")) == whole
    assert isinstance(langchain.OpenAI(**options, max_tokens=4).invoke("ab"), str)
    with pytest.raises(ContextOverflowError):
        chat.invoke("x" * 200)
    embedding = langchain.OpenAIEmbeddings(**options, check_embedding_ctx_length=False)
    assert len(embedding.embed_query("a")) == 16


def test_the_llm_command_chats(server, tmp_path):
    pytest.importorskip("llm")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: ours\n  model_name: tiny\n  api_base: {server}/v1\n  api_key_name: none\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "ours", "-o", "max_tokens", "5", "--key", "x", "hi"],
        env={**os.environ, "LLM_USER_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


@pytest.mark.parametrize("kind", ["local-completions"])
def test_lm_eval_scores_through_the_server(server, tmp_path, kind):
    """Its figures of a local task equal those of our scorer."""
    pytest.importorskip("lm_eval")
    rows = [{"q": "ab", "choices": ["cd", "ef"], "answer": i % 2} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "ours.yaml").write_text(
        "task: ours\ndataset_path: json\noutput_type: multiple_choice\ntest_split: train\n"
        f"dataset_kwargs:\n  data_files: {tmp_path / 'rows.jsonl'}\n"
        "doc_to_text: '{{q}}'\ndoc_to_choice: '{{choices}}'\ndoc_to_target: answer\n"
        "target_delimiter: ''\nmetric_list:\n  - metric: acc\n"
    )
    address = f"{server}/v1/completions"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lm_eval", "--model", kind, "--tasks", "ours"),
            *("--include_path", str(tmp_path), "--output_path", str(tmp_path / "out")),
            *("--model_args", f"model=tiny,base_url={address},tokenizer_backend=remote"),
            "--log_samples",
        ],
        env={**os.environ, "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    model = chat_model("tiny")
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        for choice, given in zip(rows[0]["choices"], sample["filtered_resps"], strict=True):
            tokens = [model.tokenizer.encode(text) for text in ("ab", choice)]
            (score,) = model.scorer.score([tuple(tokens)])
            assert float(given[0]) == pytest.approx(score.total, abs=1e-4)
            assert str(given[1]) == str(score.greedy)


def test_the_unmodified_oaieval_gives_the_report_of_ours(tmp_path):
    """Both ask the server greedily: one of two answers is the one it was seen to give."""
    if importlib.util.find_spec("evals") is None:  # which cannot be imported without a key
        pytest.skip("needs the package evals")
    for folder in ("evals", "data", "completion_fns", "eval_sets", "modelgraded"):
        (tmp_path / folder).mkdir()
    samples = tmp_path / "data" / "samples.jsonl"
    said = [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}]
    (tmp_path / "evals" / "ours.yaml").write_text(
        "ours:\n  id: ours.test.v0\n  metrics: [accuracy]\nours.test.v0:\n"
        f"  class: evals.elsuite.basic.match:Match\n  args:\n    samples_jsonl: {samples}\n"
    )
    theirs, ours = tmp_path / "theirs.jsonl", tmp_path / "ours.jsonl"
    registry = Registry([tmp_path])
    with live(chat_model("gpt-3.5-turbo", max_queue=64)) as address:
        with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
            asked = client.chat.completions.create(
                model="gpt-3.5-turbo", messages=said, temperature=0
            )
        given = asked.choices[0].message.content
        rows = [{"input": said, "ideal": ideal} for ideal in (given, f"not {given}")]
        samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
        names = [f"{address}/v1#gpt-3.5-turbo"]
        functions = Functions(registry, {})
        with opened(registry.eval("ours"), names, functions, registry, Settings(), ours) as run:
            report = run()
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from evals.cli.oaieval import main; main()"),
                *("gpt-3.5-turbo", "ours", "--registry_path", str(tmp_path)),
                *("--record_path", str(theirs)),
            ],
            env={**os.environ, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{address}/v1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    logs = [log.read_text().splitlines() for log in (theirs, ours)]
    events = [[json.loads(line) for line in log] for log in logs]
    (their_report,) = [event["final_report"] for event in events[0] if "final_report" in event]
    sampled = [[e["data"]["sampled"] for e in x if e.get("type") == "sampling"] for x in events]
    assert report["accuracy"] == 0.5 and sampled[0] == sampled[1] == [[given], [given]]
    unseeded, of_the_package = (
        {"boostrap_std"},
        {name for name in their_report if "details" in name},
    )
    kept = their_report.keys() - unseeded - of_the_package
    assert {name: report[name] for name in report.keys() - unseeded} == {
        name: their_report[name] for name in kept
    }
