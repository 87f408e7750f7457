"""JsonMatch and JsonValidator: answers that are to be JSON.

Source: evals/elsuite/basic/json_match.py and json_validator.py of openai/evals 3.0.1.
"""

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from gptjax.evals.openai_evals.classes.base import (
    Asks,
    Call,
    Event,
    FromFile,
    field,
    ideals,
    match,
)
from gptjax.evals.openai_evals.classes.basic import Rows, mean, with_deviation
from gptjax.evals.openai_evals.prompts import checked


@dataclasses.dataclass
class JsonMatch(FromFile):
    """An answer is right if it is JSON that is equal to an ideal one, part by part."""

    max_tokens: int = 512
    last = "metrics"

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        del rng
        expected = ideals(sample)
        values = [_ideal(each) for each in expected]
        text = yield Call(
            checked(field(sample, "input"), "sample: 'input'"),
            {"temperature": 0.0, "max_tokens": self.max_tokens},
        )
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        matches = [json_match(answer, value) for value in values]
        return [
            match(any(matches), expected, [text for found in matches if found]),
            Event("metrics", {"accuracy": float(any(matches))}),
        ]

    def report(self, events: Rows) -> dict[str, Any]:
        return {"accuracy": mean(events, "accuracy")}


@dataclasses.dataclass
class JsonValidator(FromFile):
    """An answer is right if it is JSON."""

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        del rng
        prompt = checked(field(sample, "input"), "sample: 'input'")
        text = yield Call(prompt, {"temperature": 0.0})
        try:
            json.loads(text)
            valid = True
        except ValueError:
            valid = False
        return [match(valid, None, text)]

    def report(self, events: Rows) -> dict[str, Any]:
        return with_deviation(events, self.context.seed)


def json_match(answer: Any, expected: Any) -> bool:
    """Whether values of JSON are equal; null is equal to nothing, nor is a key that one lacks."""
    if answer is None or expected is None:
        return False
    if isinstance(answer, Mapping):
        return isinstance(expected, Mapping) and all(
            json_match(answer.get(key), expected.get(key)) for key in {*answer, *expected}
        )
    if isinstance(answer, list):
        return (
            isinstance(expected, list)
            and len(answer) == len(expected)
            and _all_match(answer, expected)
        )
    return answer == expected


def _all_match(answers: Sequence[Any], expected: Sequence[Any]) -> bool:
    return all(json_match(*pair) for pair in zip(answers, expected, strict=True))


def _ideal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"sample: got {text[:60]!r} as 'ideal', expected JSON") from error
