"""The OpenAPI document of the server, made of the tables that its requests are checked by."""

import functools
import html
from collections.abc import Mapping
from typing import Any

from gptjax.serving.bodies.fields import Field
from gptjax.serving.endpoints import (
    chat_completions,
    completions,
    embeddings,
    moderations,
    responses,
    tokens,
)

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_STATUSES = {
    "400": "A field that is wrong, unknown or not supported; a context that is exceeded.",
    "401": "A key that is missing or wrong.",
    "403": "A host by whose name this server is not reached.",
    "404": "A model that there is not.",
    "405": "A method that this path has not.",
    "408": "A body that did not arrive in time.",
    "413": "A body that is too large.",
    "415": "A body that is not application/json.",
    "429": "A full queue; Retry-After says when to try again.",
    "500": "A fault of the server.",
    "503": "The server is stopping.",
    "504": "A search that took too long.",
}
_OPERATIONS = (
    ("/v1/chat/completions", "Replies to a conversation", chat_completions),
    ("/v1/completions", "Continues or scores texts", completions),
    ("/v1/responses", "Replies to text", responses),
    ("/v1/embeddings", "Embeds texts", embeddings),
    ("/v1/moderations", "Judges texts", moderations),
)


def _body(fields: Mapping[str, Field]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, field in fields.items() if field.required],
        "properties": {
            name: _nullable(field) | {"description": field.about} for name, field in fields.items()
        },
    }


def _nullable(field: Field) -> dict[str, Any]:
    schema = _documented(field.schema)
    return schema if field.required else {"anyOf": [schema, {"type": "null"}]}


def _documented(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema in which all that is not required may be null, as it is read."""
    made = dict(schema)
    if "anyOf" in made:
        made["anyOf"] = [_documented(option) for option in made["anyOf"]]
    if "items" in made:
        made["items"] = _documented(made["items"])
    required = made.get("required", ())
    if "properties" in made:
        made["properties"] = {
            name: _documented(inner)
            if name in required
            else {"anyOf": [_documented(inner), {"type": "null"}]}
            for name, inner in made["properties"].items()
        }
    if isinstance(made.get("additionalProperties"), dict):
        inner = _documented(made["additionalProperties"])
        made["additionalProperties"] = {"anyOf": [inner, {"type": "null"}]}
    return made


def _operation(about: str, ok: Mapping[str, Any], fields: Mapping[str, Field] | None) -> Any:
    errors = {
        status: {"description": said, "content": {"application/json": {"schema": _reference()}}}
        for status, said in _STATUSES.items()
    }
    made: dict[str, Any] = {
        "summary": about,
        "responses": {"200": {"description": about, "content": dict(ok)}, **errors},
    }
    if fields is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _body(fields)}},
        }
    return made


def _reference() -> dict[str, str]:
    return {"$ref": "#/components/schemas/ErrorResponse"}


@functools.cache
def openapi() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    json_object = {"application/json": {"schema": {"type": "object"}}}
    event = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
    streamed = {**json_object, "text/event-stream": {"schema": event}}
    paths: dict[str, Any] = {}
    for path, about, module in _OPERATIONS:
        ok = streamed if "stream" in module.FIELDS else json_object
        paths[path] = {"post": _operation(about, ok, module.FIELDS)}
    paths["/tokenize"] = {"post": _operation("Tokens of a text", json_object, tokens.TOKENIZE)}
    paths["/detokenize"] = {"post": _operation("Text of tokens", json_object, tokens.DETOKENIZE)}
    for path, about in (
        ("/v1/models", "Models that are served"),
        ("/tokenizer_info", "What there is to know of a tokenizer"),
        ("/healthz", "Whether the server is well"),
    ):
        paths[path] = {"get": _operation(about, json_object, None)}
    for path, about in (
        ("/feedback/rankings", "Keeps a ranking of replies"),
        ("/feedback/votes", "Keeps a vote on a reply"),
        ("/feedback/conversations", "Keeps a conversation"),
    ):
        kept = _operation(about, json_object, None)
        kept["requestBody"] = {"required": True, "content": json_object}
        paths[path] = {"post": kept}
    for path, about in (
        ("/feedback", "Whether votes are kept, and how many there are"),
        ("/feedback/ratings", "Ratings of models by the rankings"),
    ):
        paths[path] = {"get": _operation(about, json_object, None)}
    named = _operation("One model", json_object, None)
    named["parameters"] = [
        {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    ]
    paths["/v1/models/{name}"] = {"get": named}
    text = {"text/plain": {"schema": {"type": "string"}}}
    paths["/metrics"] = {"get": _operation("Figures for Prometheus", text, None)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gptjax",
            "version": "1",
            "description": "OpenAI's API over runs of gptjax. What is ours besides says so.",
        },
        "paths": paths,
        "components": {"schemas": {"ErrorResponse": _ERROR}},
    }


@functools.cache
def documentation() -> str:
    """The document as a page that needs nothing else."""
    parts = []
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2>{method.upper()} {path}</h2><p>{operation['summary']}.</p>")
            body = operation.get("requestBody")
            if body:
                fields = body["content"]["application/json"]["schema"].get("properties", {})
                rows = "".join(
                    f"<tr><td><code>{html.escape(name)}</code></td>"
                    f"<td>{html.escape(field['description'])}</td></tr>"
                    for name, field in fields.items()
                )
                parts.append(f"<table><tr><th>field</th><th></th></tr>{rows}</table>")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>gptjax: the API</title>"
        "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td{padding:.2rem 1rem .2rem 0;vertical-align:top}</style><h1>gptjax: the API</h1>"
        "<p>The same as a document for programs: <a href=/openapi.json>openapi.json</a>.</p>"
        f"{''.join(parts)}</html>"
    )
