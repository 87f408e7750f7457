"""POST /v1/responses: one reply to text, by the API that follows chat completions; text only.

Nothing is stored: a conversation is sent whole, and `store`, `previous_response_id` and tools are
refused by name. Source: OpenAI's API reference, "Create a model response" and its stream's events.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptjax.chat.drafts import Asked
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.serving.bodies.conversations import (
    CONTEXT_OVERFLOW,
    TEXT_MESSAGE,
    conversation_of,
    read_prompt,
    reserve,
)
from gptjax.serving.bodies.fields import Field, read, table, unsupported
from gptjax.serving.bodies.sampling_fields import COUNT, SAMPLING, policy_of
from gptjax.serving.generation import Chosen, Writing, started
from gptjax.serving.screening import FILTERED, Screen
from gptjax.serving.served import Models, Served, new_id, seed_of
from gptjax.serving.streaming import event_stream

_TAKEN = ("model", "temperature", "top_p", "user", "stream", "seed")
FIELDS = table(
    [field for field in SAMPLING if field.name in _TAKEN],
    Field(
        "input",
        {"anyOf": [{"type": "string"}, {"type": "array", "items": TEXT_MESSAGE, "minItems": 1}]},
        "What a user says, or a conversation.",
        required=True,
    ),
    Field("instructions", {"type": "string"}, "The system message."),
    Field(
        "max_output_tokens",
        COUNT,
        "Most tokens of the reply; all that fit by default.",
    ),
    Field(
        "text",
        {
            "type": "object",
            "properties": {
                "format": {
                    "type": "object",
                    "properties": {"type": {"type": "string", "enum": ["text"]}},
                    "additionalProperties": False,
                }
            },
            "additionalProperties": False,
        },
        "Text is what this server writes.",
    ),
    Field(
        "truncation",
        {"type": "string", "enum": ["auto", "disabled"]},
        "auto leaves out the oldest turns of a conversation that does not fit.",
    ),
    CONTEXT_OVERFLOW,
    unsupported("access_programs"),
    unsupported("background", False),
    unsupported("background_options"),
    unsupported("context_management", []),
    unsupported("conversation"),
    unsupported("image"),
    unsupported("include", []),
    unsupported("max_tool_calls"),
    unsupported("metadata", {}),
    unsupported("moderation"),
    unsupported("parallel_tool_calls", True, False),
    unsupported("previous_response_id"),
    unsupported("prompt"),
    unsupported("prompt_cache_key"),
    unsupported("prompt_cache_options"),
    unsupported("prompt_cache_retention"),
    unsupported("reasoning"),
    unsupported("safety_identifier"),
    unsupported("service_tier", "auto", "default"),
    unsupported("store", False),
    unsupported("stream_options", {"include_obfuscation": False}, {}),
    unsupported("tool_choice", "none", "auto"),
    unsupported("tools", []),
    unsupported("top_logprobs", 0),
)


class _Call:
    """One request, read and checked."""

    def __init__(
        self, values: Mapping[str, Any], served: Served, conversation: Conversation, screen: Screen
    ):
        self.values, self.served, self.screen = values, served, screen
        self.policy = policy_of(values, self.served, self.served.limits)
        automatic = "drop_oldest" if values.get("truncation") == "auto" else "refuse"
        overflow = values.get("context_overflow", automatic)
        self.most = values.get("max_output_tokens")
        self.fitted, _, before = read_prompt(
            self.served,
            conversation,
            reserved=reserve(self.served, overflow, self.most),
            overflow=overflow,
        )
        template = self.served.model.template
        self.seed = seed_of(values)
        self.asked = Asked(
            self.fitted.tokens,
            stop_token=template.tokenizer.end_of_turn,
            banned=template.outside_answers,
            messages=before,
            max_new_tokens=self.most,
            seed=self.seed,
        )
        self.refused = False  # by a filter of what goes in
        self.id, self.item, self.created = new_id("resp"), new_id("msg"), int(time.time())

    def message(self, text: str, status: str) -> dict[str, Any]:
        """The one item of the output."""
        return {
            "type": "message",
            "id": self.item,
            "status": status,
            "role": "assistant",
            "content": [part(text)] if status != "in_progress" else [],
        }

    def response(self, status: str, reply: Chosen | None = None) -> dict[str, Any]:
        """The response object, as it is by now."""
        reasons = {"length": "max_output_tokens", FILTERED: FILTERED}
        why = reasons.get(reply.reason) if reply else FILTERED if self.refused else None
        read_tokens = len(self.asked.prompt)
        written = len(reply.draft.tokens) if reply else 0
        count = {
            "input_tokens": read_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read_tokens + written,
        }
        done = "incomplete" if why else "completed"
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": done if reply or self.refused else status,
            "error": None,
            "incomplete_details": {"reason": why} if why else None,
            "instructions": self.values.get("instructions"),
            "max_output_tokens": self.most,
            "metadata": {},
            "model": self.served.name,
            "output": [self.message(reply.text, done)] if reply else [],
            "parallel_tool_calls": False,
            "temperature": self.values.get("temperature", 1.0),
            "tool_choice": "none",
            "tools": [],
            "top_p": self.values.get("top_p", 1.0),
            "truncation": self.values.get("truncation", "disabled"),
            "usage": count if reply else None,
            "gptjax": {
                "dropped_messages": list(self.fitted.dropped),
                "seed": self.seed,
                "policy": str(self.policy),
                "moderation": self.screen.decisions,
            },
        }


def part(text: str) -> dict[str, Any]:
    """A part of a message's content."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


async def create(request: Request, body: Mapping[str, Any], models: Models) -> Response:
    """Answers a request."""
    values = read(body, FIELDS)
    served, screen, given = models.get(values.get("model")), Screen(models.filters), values["input"]
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if "instructions" in values:
        messages = [{"role": "system", "content": values["instructions"]}, *messages]
    said = conversation_of(messages, served)
    conversation = await screen.conversation(said)
    read_as = said if conversation is None else conversation
    call = await asyncio.to_thread(_Call, values, served, read_as, screen)  # it encodes
    if conversation is None:
        call.refused = True
        return (
            event_stream(_refused(call), lambda: None, named=True)
            if values.get("stream")
            else _whole(call)
        )
    writing = await started(call.served, call.policy, call.asked, 1)
    if values.get("stream"):
        return event_stream(_events(call, writing), writing.end, named=True)
    (reply,) = await screen.replies(await writing.whole(request))
    return _whole(call, reply)


def _whole(call: _Call, reply: Chosen | None = None) -> Response:
    return JSONResponse(call.response("completed", reply))


async def _refused(call: _Call) -> AsyncGenerator[dict[str, Any], None]:
    for number, kind in enumerate(("created", "incomplete")):
        response = call.response("incomplete")
        yield {"type": f"response.{kind}", "sequence_number": number, "response": response}


async def _events(call: _Call, writing: Writing) -> AsyncGenerator[dict[str, Any], None]:
    number = 0

    def event(kind: str, **fields: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        return {"type": f"response.{kind}", "sequence_number": number - 1, **fields}

    where = {"item_id": call.item, "output_index": 0, "content_index": 0}
    yield event("created", response=call.response("in_progress"))
    yield event("in_progress", response=call.response("in_progress"))
    yield event("output_item.added", output_index=0, item=call.message("", "in_progress"))
    yield event("content_part.added", **where, part=part(""))
    text = ""
    async for _, piece, _ in call.screen.pieces(writing):
        if piece:
            text += piece
            yield event("output_text.delta", **where, delta=piece, logprobs=[])
    reply = call.screen.ended(0, writing.chosen(writing.drafts[0], text))
    response = call.response("completed", reply)
    yield event("output_text.done", **where, text=text, logprobs=[])
    yield event("content_part.done", **where, part=part(text))
    yield event("output_item.done", output_index=0, item=response["output"][0])
    yield event(response["status"], response=response)
