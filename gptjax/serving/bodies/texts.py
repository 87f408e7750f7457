"""Texts of requests: a string or token ids, or several of either, as ids of a model."""

from typing import Any

import numpy as np

from gptjax.inference.text import encode_prompt
from gptjax.serving.errors import APIError, context_exceeded
from gptjax.serving.served import Served, as_tokens

_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
TEXTS = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        _IDS,
        {"type": "array", "items": _IDS, "minItems": 1},
    ]
}


def texts_of(served: Served, given: Any, name: str, most: int) -> list[tuple[np.ndarray, str]]:
    """The token ids [n] of each text, and its text.

    Args:
      served: the model.
      given: a value that fits `TEXTS`.
      name: of the field, for messages.
      most: tokens of a text.

    Raises:
      APIError: too many texts, one that is too long, or one that is no text of the vocabulary.
    """
    alone = isinstance(given, str) or isinstance(given[0], int)
    several = [given] if alone else given
    if len(several) > served.limits.prompts:
        raise APIError(
            f"{name}: got {len(several)} texts, expected at most {served.limits.prompts}",
            param=name,
        )
    return [_one(served, each, name, most) for each in several]


def _one(served: Served, given: Any, name: str, most: int) -> tuple[np.ndarray, str]:
    if isinstance(given, str):
        try:
            tokens = encode_prompt(served.model.tokenizer, given)
        except ValueError as error:
            raise APIError(f"{name}: {error}", param=name) from error
    else:
        tokens = as_tokens(served, given, name)
    served.check_prompt(tokens.size, name)
    if tokens.size > most:
        raise context_exceeded(
            f"{name}: got {tokens.size} tokens, expected at most {most} of the model's context of "
            f"{served.model.config.context_length}",
            name,
        )
    text = given if isinstance(given, str) else served.model.tokenizer.decode(tokens)
    return tokens, text
