"""POST /v1/moderations: what a classifier of a run says of texts, in OpenAI's shape.

Source: OpenAI's API reference, "Create moderation". Categories for which the run has no classifier
are never flagged, and say so by their empty input types.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptjax.chat.moderation import moderation_response
from gptjax.serving.bodies.fields import Field, read, table
from gptjax.serving.errors import APIError
from gptjax.serving.served import Models, new_id

_PART = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": ["text"]}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": False,
}
FIELDS = table(
    Field(
        "input",
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "array", "items": _PART, "minItems": 1},
            ]
        },
        "A text, or several; parts of type text are taken too, images are not.",
        required=True,
    ),
    Field("model", {"type": "string"}, "It may be absent: a server has one classifier."),
)


async def create(request: Request, body: Mapping[str, Any], models: Models) -> Response:
    """Answers a request."""
    del request
    values = read(body, FIELDS)
    moderator = models.moderator
    if moderator is None:
        raise APIError(
            "moderations: this server was started without --moderation, a run that classifies",
            status=404,
            code="no_moderation",
        )
    given = values["input"]
    items = [given] if isinstance(given, str) else given
    most = next(iter(models.all.values())).limits.prompts
    if len(items) > most:
        raise APIError(f"input: got {len(items)} texts, expected at most {most}", param="input")
    texts = [item if isinstance(item, str) else item["text"] for item in items]
    scores = await asyncio.to_thread(moderator.scores, texts)
    name = values.get("model") or "moderation"
    return JSONResponse(moderation_response(scores, moderator.thresholds, name, new_id("modr")))
