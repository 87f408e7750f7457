"""POST /v1/embeddings: the mean of a language model's last hidden states over a text's tokens.

Source: OpenAI's API reference, "Create embeddings"; base64 is of little-endian float32.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptjax.serving.bodies.fields import Field, read, table
from gptjax.serving.bodies.texts import TEXTS, texts_of
from gptjax.serving.errors import APIError
from gptjax.serving.served import Models

FIELDS = table(
    Field("model", {"type": "string"}, "Name of the model; the first one by default."),
    Field("input", TEXTS, "A text or token ids, or several of either.", required=True),
    Field(
        "encoding_format",
        {"type": "string", "enum": ["float", "base64"]},
        "How numbers are written, float by default.",
    ),
    Field("dimensions", {"type": "integer", "minimum": 1}, "The model's own width or nothing."),
    Field("user", {"type": "string"}, "Who asks; it is not used."),
)


async def create(request: Request, body: Mapping[str, Any], models: Models) -> Response:
    """Answers a request."""
    del request
    values = read(body, FIELDS)
    served = models.get(values.get("model"))
    config = served.model.config
    if values.get("dimensions", config.d_model) != config.d_model:
        raise APIError(
            f"dimensions: got {values['dimensions']}, expected {config.d_model}, the model's width",
            param="dimensions",
        )
    texts = [
        tokens for tokens, _ in texts_of(served, values["input"], "input", config.context_length)
    ]
    vectors = await served.aside(lambda: served.model.embedder(texts))
    as_base64 = values.get("encoding_format") == "base64"
    count = sum(tokens.size for tokens in texts)
    return JSONResponse(
        {
            "object": "list",
            "model": served.name,
            "data": [
                {"object": "embedding", "index": i, "embedding": _written(vector, as_base64)}
                for i, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
    )


def _written(vector: np.ndarray, as_base64: bool) -> str | list[float]:
    if as_base64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
