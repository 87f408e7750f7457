"""Messages of requests as conversations of ours, and what of them a model reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptjax.chat.context import OVERFLOW, ContextExceeded, Fitted, check_roles, fitted
from gptjax.data.dialogue.chat_format import Conversation, Message
from gptjax.data.pictures.picture import Picture
from gptjax.serving.bodies import pictures
from gptjax.serving.bodies.fields import Field
from gptjax.serving.errors import APIError, context_exceeded
from gptjax.serving.served import Served, as_tokens

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_PART = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["text", "input_text", "output_text"]},
        "text": {"type": "string"},
        "annotations": {"type": "array", "maxItems": 0},
        "logprobs": {"type": "array", "maxItems": 0},
    },
    "required": ["type", "text"],
    "additionalProperties": False,
}


def _message(part: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a message, whose content may be a list of parts."""
    parts = {"type": "array", "items": part, "minItems": 1}
    return {
        "type": "object",
        "properties": {
            "role": {"type": "string", "enum": list(_ROLES)},
            "content": {"anyOf": [{"type": "string"}, parts]},
            "name": {"type": "string"},
            "refusal": {"type": "null"},
            "type": {"type": "string", "enum": ["message"]},
            "tool_calls": {"type": "array", "maxItems": 0},
            "annotations": {"type": "array", "maxItems": 0},
            "id": {"type": "string"},
            "status": {"type": "string"},
        },
        "required": ["role", "content"],
        "additionalProperties": False,
    }


TEXT_MESSAGE = _message(_PART)
MESSAGE = _message({"anyOf": [_PART, pictures.PART]})
MESSAGES = Field(
    "messages",
    {"type": "array", "items": MESSAGE, "minItems": 1},
    "The conversation. A name is not shown to the model; the answer says so. A user's message may "
    "have parts of type image_url, PNG or JPEG as a data URI, where the model reads images; detail "
    "is auto.",
    required=True,
)
CONTEXT_OVERFLOW = Field(
    "context_overflow",
    {"type": "string", "enum": list(OVERFLOW)},
    "Ours: what happens to a conversation that does not fit: it is refused, its oldest turns are "
    "left out, or its oldest tokens. The answer says what was left out.",
)


def conversation_of(messages: Sequence[Mapping[str, Any]], served: Served) -> Conversation:
    """The conversation of checked messages.

    Raises:
      APIError: too many messages or pictures, or a picture that the model cannot be shown.
    """
    if len(messages) > served.limits.messages:
        raise APIError(
            f"messages: got {len(messages)}, expected at most {served.limits.messages}",
            param="messages",
        )
    said = tuple(
        _read(served, message, f"messages[{number}]") for number, message in enumerate(messages)
    )
    shown = sum(len(message.pictures) for message in said)
    if shown > served.limits.pictures:
        raise APIError(
            f"messages: got {shown} pictures, expected at most {served.limits.pictures}",
            param="messages",
        )
    return said


def _read(served: Served, message: Mapping[str, Any], name: str) -> Message:
    role, content = _ROLES[message["role"]], message["content"]
    if isinstance(content, str):
        return Message(role, content)
    parts: list[str | Picture] = []
    for number, part in enumerate(content):
        where = f"{name}.content[{number}]"
        if part["type"] != "image_url":
            parts.append(part["text"])
        elif role == "user":
            parts.append(pictures.picture_of(served, part, where))
        else:
            said = f"{where}: got a picture of the role {role}, expected a user's"
            raise APIError(said, param="messages")
    return Message.of(role, parts)


def unread(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Fields of messages that the model does not see."""
    return [f"messages[{i}].name" for i, message in enumerate(messages) if message.get("name")]


def read_prompt(
    served: Served,
    conversation: Conversation,
    *,
    reserved: int,
    overflow: str,
    continued: bool = False,
    assistant_tokens: Sequence[int] = (),
) -> tuple[Fitted, str, Conversation]:
    """What the model reads, the text with which its reply has begun, and the conversation before.

    Raises:
      APIError: the model does not chat, roles out of order, or a conversation that does not fit.
    """
    try:
        template = served.model.template
        if continued and assistant_tokens:
            raise ValueError(
                "assistant_tokens: got them with continue_final_message, expected one of them"
            )
        check_roles(conversation, continued)
        begun = as_tokens(served, assistant_tokens, "assistant_tokens")
        if np.isin(begun, [template.tokenizer.end_of_turn, *template.outside_answers]).any():
            raise ValueError("assistant_tokens: got the mark of a turn, expected tokens of text")
        if continued:
            begun = template.tokenizer.encode(conversation[-1].content)
            conversation = conversation[:-1]
        read = fitted(
            template,
            conversation,
            context_length=served.model.config.context_length,
            reserved=reserved,
            overflow=overflow,
            begun=begun,
        )
    except ContextExceeded as error:
        raise context_exceeded(str(error), "messages") from error
    except ValueError as error:
        raise APIError(str(error), param="messages") from error
    served.check_prompt(read.tokens.size, "messages")
    return read, template.tokenizer.decode(begun), conversation


def reserve(served: Served, overflow: str, most: int | None) -> int:
    """Tokens for which there must be room after the prompt."""
    if overflow == "refuse":
        return 1
    context = served.model.config.context_length
    return max(1, min(most or context // 4, context // 2))
