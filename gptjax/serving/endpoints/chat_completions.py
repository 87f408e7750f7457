"""POST /v1/chat/completions: replies to a conversation.

Source: OpenAI's API reference, "Create chat completion". Ours besides: fields of `sampling_fields`
that say so, `continue_final_message`, `assistant_tokens`, `context_overflow`, and in the answer the
object `gptjax`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptjax.chat.drafts import Asked, Draft
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.inference.text import GrowingText
from gptjax.serving.bodies.conversations import (
    CONTEXT_OVERFLOW,
    MESSAGES,
    conversation_of,
    read_prompt,
    reserve,
    unread,
)
from gptjax.serving.bodies.fields import Field, read, table, unsupported
from gptjax.serving.bodies.pictures import pixels_of
from gptjax.serving.bodies.sampling_fields import (
    COUNT,
    SAMPLING,
    check_stream_options,
    policy_of,
    stops,
)
from gptjax.serving.bodies.shapes import chat_logprobs, usage
from gptjax.serving.errors import APIError
from gptjax.serving.generation import Chosen, Writing, started
from gptjax.serving.screening import FILTERED, Screen
from gptjax.serving.served import Models, Served, new_id, seed_of
from gptjax.serving.streaming import event_stream

FIELDS = table(
    SAMPLING,
    MESSAGES,
    Field("max_completion_tokens", COUNT, "Most tokens of a reply; all that fit by default."),
    Field("max_tokens", COUNT, "The older name of max_completion_tokens."),
    Field("logprobs", {"type": "boolean"}, "Whether tokens come with their log-probabilities."),
    Field(
        "top_logprobs",
        {"type": "integer", "minimum": 0, "maximum": 20},
        "Most probable tokens beside each; needs logprobs.",
    ),
    Field(
        "response_format",
        {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": ["text"]}},
            "required": ["type"],
            "additionalProperties": False,
        },
        "Text is what this server writes.",
    ),
    Field(
        "continue_final_message",
        {"type": "boolean"},
        "Ours: the last message is the assistant's, and the reply goes on from there.",
    ),
    Field(
        "add_generation_prompt",
        {"type": "boolean"},
        "As other servers have it: false only with continue_final_message.",
    ),
    Field(
        "assistant_tokens",
        {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "Ours: ids of the tokens with which the reply begins.",
    ),
    CONTEXT_OVERFLOW,
    unsupported("audio"),
    unsupported("function_call", "none"),
    unsupported("functions", []),
    unsupported("metadata", {}),
    unsupported("modalities", ["text"]),
    unsupported("moderation"),
    unsupported("parallel_tool_calls", True, False),
    unsupported("prediction"),
    unsupported("prompt_cache_key"),
    unsupported("prompt_cache_options"),
    unsupported("prompt_cache_retention"),
    unsupported("reasoning_effort", "none"),
    unsupported("safety_identifier"),
    unsupported("service_tier", "auto", "default"),
    unsupported("store", False),
    unsupported("tool_choice", "none", "auto"),
    unsupported("tools", []),
    unsupported("verbosity", "medium"),
    unsupported("web_search_options"),
)


class _Call:
    """One request, read and checked."""

    def __init__(
        self, values: Mapping[str, Any], served: Served, conversation: Conversation, screen: Screen
    ):
        self.values, self.served, self.screen = values, served, screen
        self.messages = values["messages"]
        self.policy = policy_of(values, self.served, self.served.limits)
        self.count = values.get("n", 1)
        self.most = most_tokens(values)
        self.top = values.get("top_logprobs", 0)
        self.logprobs = values.get("logprobs", False)
        if self.top and not self.logprobs:
            raise APIError("top_logprobs: got it without logprobs, expected both", param="logprobs")
        continued = values.get("continue_final_message", False)
        if not values.get("add_generation_prompt", True) and not continued:
            raise APIError(
                "add_generation_prompt: got false without continue_final_message, expected both",
                param="add_generation_prompt",
            )
        overflow = values.get("context_overflow", "refuse")
        self.fitted, begun, before = read_prompt(
            self.served,
            conversation,
            reserved=reserve(self.served, overflow, self.most),
            overflow=overflow,
            continued=continued,
            assistant_tokens=values.get("assistant_tokens", ()),
        )
        template = self.served.model.template
        self.seed = seed_of(values)
        self.asked = Asked(
            self.fitted.tokens,
            stop_token=template.tokenizer.end_of_turn,
            banned=template.outside_answers,
            messages=before,
            max_new_tokens=self.most,
            stop=stops(values),
            seed=self.seed,
            alternatives=max(self.top, 1) if self.logprobs else 0,
            begun=begun,
            images=pixels_of(self.served, self.fitted.pictures),
        )
        self.head = {
            "id": new_id("chatcmpl"),
            "created": int(time.time()),
            "model": self.served.name,
            "system_fingerprint": None,
        }

    def ours(self, longest: int) -> dict[str, Any]:
        """What the answer says besides: `longest` is the number of tokens of the longest reply."""
        room = self.served.model.config.context_length - len(self.asked.prompt) - longest
        about = {
            "dropped_messages": list(self.fitted.dropped),
            "cut_tokens": self.fitted.cut,
            "room": max(room, 0),
            "seed": self.seed,
            "policy": str(self.policy),
            "moderation": self.screen.decisions,
        }
        ignored = unread(self.messages)
        return about | ({"ignored": ignored} if ignored else {})

    def choice(self, index: int, reply: Chosen) -> dict[str, Any]:
        """A choice of an answer that comes as a whole."""
        logprobs = None
        if self.logprobs:
            listed = chat_logprobs(self.served, reply.draft, 0, reply.count, self.top)
            logprobs = {"content": listed, "refusal": None}
        message = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": reply.reason,
        }


def most_tokens(values: Mapping[str, Any]) -> int | None:
    """The most tokens of a reply; APIError where both of its names say something else."""
    new, old = values.get("max_completion_tokens"), values.get("max_tokens")
    if new is not None and old is not None and new != old:
        raise APIError(
            f"max_tokens: got {old} with max_completion_tokens {new}, expected one of them",
            param="max_tokens",
        )
    return old if new is None else new


async def create(request: Request, body: Mapping[str, Any], models: Models) -> Response:
    """Answers a request."""
    values = read(body, FIELDS)
    check_stream_options(values)
    served, screen = models.get(values.get("model")), Screen(models.filters)
    said = conversation_of(values["messages"], served)
    conversation = await screen.conversation(said)
    read_as = said if conversation is None else conversation
    call = await asyncio.to_thread(_Call, values, served, read_as, screen)  # it encodes
    if conversation is None:
        return (
            event_stream(_refused(call), lambda: None)
            if values.get("stream")
            else _answer(call, [])
        )
    writing = await started(call.served, call.policy, call.asked, call.count)
    if values.get("stream"):
        return event_stream(_events(call, writing), writing.end)
    return _answer(call, await screen.replies(await writing.whole(request)), writing.tokens)


def _answer(call: _Call, replies: Sequence[Chosen], written: int = 0) -> Response:
    """The answer with these replies; of an input that is refused there are none."""
    lengths = [len(reply.draft.tokens) for reply in replies]
    choices = [call.choice(i, reply) for i, reply in enumerate(replies)]
    read_tokens = len(call.asked.prompt) if replies else 0
    return JSONResponse(
        {
            **call.head,
            "object": "chat.completion",
            "choices": choices or [refused_choice(i) for i in range(call.count)],
            "usage": usage(read_tokens, written),
            "service_tier": "default",
            "gptjax": call.ours(max(lengths, default=0)),
        }
    )


def refused_choice(index: int) -> dict[str, Any]:
    """A choice where a filter refused what went in."""
    message = {"role": "assistant", "content": "", "refusal": None, "annotations": []}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": FILTERED}


async def _refused(call: _Call) -> AsyncGenerator[dict[str, Any], None]:
    head = {**call.head, "object": "chat.completion.chunk", "service_tier": "default"}
    for index in range(call.count):
        choice = {"index": index, "logprobs": None, "finish_reason": FILTERED}
        delta = {"role": "assistant", "content": "", "refusal": None}
        event = {**head, "choices": [{**choice, "delta": delta}]}
        last = index == call.count - 1
        yield {**event, "gptjax": call.ours(0)} if last else event


async def _events(call: _Call, writing: Writing) -> AsyncGenerator[dict[str, Any], None]:
    counted = (call.values.get("stream_options") or {}).get("include_usage", False)
    head = {**call.head, "object": "chat.completion.chunk", "service_tier": "default"}
    head |= {"usage": None} if counted else {}

    def chunk(index: int, delta: dict[str, Any], **rest: Any) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **rest}
        return {**head, "choices": [choice]}

    for index in range(call.count):
        yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
    texts, said, left = [""] * call.count, [0] * call.count, call.count
    settled = [_Settled(writing, draft) for draft in writing.drafts]
    async for index, piece, ended in call.screen.pieces(writing):
        draft = writing.drafts[index]
        texts[index] += piece
        rest: dict[str, Any] = {}
        if call.logprobs and index not in call.screen.touched:
            count = writing.shown(draft, texts[index]) if ended else said[index]
            if not ended and piece:
                count = settled[index].within(texts[index])
            if count > said[index]:
                listed = chat_logprobs(call.served, draft, said[index], count, call.top)
                rest["logprobs"] = {"content": listed, "refusal": None}
                said[index] = count
        if piece or rest:
            yield chunk(index, {"content": piece}, **rest)
        if ended:
            left -= 1
            reply = call.screen.ended(index, writing.chosen(draft, texts[index]))
            last = chunk(index, {}, finish_reason=reply.reason)
            if not left:
                last["gptjax"] = call.ours(max(len(draft.tokens) for draft in writing.drafts))
            yield last
    if counted:
        yield {**head, "choices": [], "usage": usage(len(call.asked.prompt), writing.tokens)}


class _Settled:
    """Counts the tokens of a draft that are wholly in its text as it grows."""

    def __init__(self, writing: Writing, draft: Draft):
        self._growing = GrowingText(writing.served.model.tokenizer)
        self._draft, self._read, self._size, self._count = draft, 0, 0, 0

    def within(self, text: str) -> int:
        """How many there are in the text so far."""
        while self._size <= len(text):
            self._count = self._read
            if self._read == len(self._draft.tokens):
                break
            self._size = len(self._growing.add([self._draft.tokens[self._read]]))
            self._read += 1
        return self._count
