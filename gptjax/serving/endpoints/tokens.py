"""POST /tokenize and /detokenize, GET /tokenizer_info: a model's tokenizer, as vLLM serves it.

With them lm-eval needs neither a tokenizer nor transformers on its side.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptjax.serving.bodies.conversations import MESSAGES, conversation_of
from gptjax.serving.bodies.fields import Field, read, table
from gptjax.serving.errors import APIError
from gptjax.serving.served import Models, Served, as_tokens

_MODEL = Field("model", {"type": "string"}, "Name of the model; the first one by default.")
TOKENIZE = table(
    _MODEL,
    Field("prompt", {"type": "string"}, "A text; or else messages."),
    Field("messages", MESSAGES.schema, "A conversation, as its model reads it."),
    Field("add_special_tokens", {"type": "boolean"}, "No tokens are added to a text in any case."),
    Field(
        "add_generation_prompt",
        {"type": "boolean"},
        "Whether the mark of the assistant's turn stands at the end; it does by default.",
    ),
    Field("return_token_strs", {"type": "boolean"}, "Whether the texts of tokens come too."),
)
DETOKENIZE = table(
    _MODEL,
    Field(
        "tokens",
        {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "Token ids.",
        required=True,
    ),
)


async def tokenize(request: Request, body: Mapping[str, Any], models: Models) -> Response:
    """The tokens of a text, or of a conversation."""
    del request
    values = read(body, TOKENIZE)
    served = models.get(values.get("model"))
    if ("prompt" in values) == ("messages" in values):
        raise APIError("prompt: got it with messages or neither, expected one", param="prompt")
    try:
        tokens = await asyncio.to_thread(_tokens, served, values)
    except ValueError as error:
        raise APIError(str(error), param="messages") from error
    names = served.token_names
    listed = tokens.tolist()
    return JSONResponse(
        {
            "count": len(listed),
            "max_model_len": served.model.config.context_length,
            "tokens": listed,
            "token_strs": [names[each] if each < len(names) else "" for each in listed]
            if values.get("return_token_strs")
            else None,
        }
    )


def _tokens(served: Served, values: Mapping[str, Any]) -> np.ndarray:
    if "prompt" in values:
        return served.model.tokenizer.encode(values["prompt"])
    conversation, template = conversation_of(values["messages"], served), served.model.template
    asks = values.get("add_generation_prompt", True)
    return template.prompt(conversation) if asks else template.render(conversation)[0]


async def detokenize(request: Request, body: Mapping[str, Any], models: Models) -> Response:
    """The text of tokens."""
    del request
    values = read(body, DETOKENIZE)
    served = models.get(values.get("model"))
    tokens = as_tokens(served, values["tokens"], "tokens")
    return JSONResponse({"prompt": served.model.tokenizer.decode(tokens)})


async def info(request: Request, models: Models) -> Response:
    """What there is to know of a tokenizer; `?model=NAME` says whose."""
    served = models.get(request.query_params.get("model"))
    tokenizer = served.model.tokenizer
    names = {index: name for name, index in tokenizer.special_tokens.items()}
    end = tokenizer.end_of_text
    name = None if end is None else names.get(end, tokenizer.decode([end]))
    return JSONResponse(
        {
            "tokenizer_class": f"gptjax.{tokenizer.kind}",
            "vocab_size": tokenizer.vocab_size,
            "model_max_length": served.model.config.context_length,
            "eos_token": name,
            "bos_token": name,
            "pad_token": None,
            "chat_template": None,
        }
    )
