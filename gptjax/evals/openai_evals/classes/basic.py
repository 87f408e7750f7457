"""Match, Includes and FuzzyMatch: an answer beside the ideal ones.

Source: evals/elsuite/basic/ and evals/elsuite/utils.py of openai/evals 3.0.1.
"""

import dataclasses
import random
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptjax.evals.openai_evals.classes.base import (
    Asks,
    Call,
    Event,
    FromFile,
    WithExamples,
    accuracy,
    bootstrap_std,
    field,
    ideals,
    match,
    starts_with,
)
from gptjax.evals.openai_evals.prompts import checked

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclasses.dataclass
class Match(WithExamples):
    """An answer is right if it begins with an ideal one; `max_tokens` is not sent."""

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        del rng
        expected = ideals(sample)
        text = yield Call(self.prompt(sample), {"temperature": 0.0})
        return [starts_with(text, expected)]

    def report(self, events: Rows) -> dict[str, Any]:
        return with_deviation(events, self.context.seed)


_TEST = "Complete the phrase as concisely as possible."
_PHRASES = {
    "Once upon a ": "time",
    "The first US president was ": "George Washington",
    "OpenAI was founded in 20": "15",
}


@dataclasses.dataclass
class TestMatch(Match):
    """Match with three samples of its own; it tries out a model and its connection."""

    __test__ = False  # which pytest would take for one of its own
    samples_jsonl: str = ""

    def samples(self) -> list[Any]:
        return [
            {
                "input": [
                    {"role": "system", "content": _TEST},
                    {"role": "user", "content": phrase},
                ],
                "ideal": ideal,
            }
            for phrase, ideal in _PHRASES.items()
        ]


@dataclasses.dataclass
class Includes(FromFile):
    """An answer is right if it has an ideal one in it; no temperature is sent."""

    ignore_case: bool = False

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        del rng
        expected = ideals(sample)
        text = yield Call(checked(field(sample, "input"), "sample: 'input'"), {})
        if self.ignore_case:
            found = any(ideal.lower() in text.lower() for ideal in expected)
        else:
            found = any(ideal in text for ideal in expected)
        return [match(found, sample["ideal"], text, sampled=text)]

    def report(self, events: Rows) -> dict[str, Any]:
        return with_deviation(events, self.context.seed)


@dataclasses.dataclass
class FuzzyMatch(FromFile):
    """An answer is right if it has an ideal one in it, or the other way, less what is small."""

    max_tokens: int = 100
    last = "metrics"

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        del rng
        expected = ideals(sample)
        text = yield Call(
            checked(field(sample, "input"), "sample: 'input'"),
            {"temperature": 0.0, "max_tokens": self.max_tokens},
        )
        matches = [fuzzy_match(text, ideal) for ideal in expected]
        return [
            match(any(matches), expected, [text for found in matches if found]),
            Event("metrics", {"accuracy": float(any(matches)), "f1_score": f1(text, expected)}),
        ]

    def report(self, events: Rows) -> dict[str, Any]:
        return {name: mean(events, name) for name in ("accuracy", "f1_score")}


def with_deviation(events: Rows, seed: int) -> dict[str, Any]:
    """The accuracy of matches with its standard deviation, under the name that the format has."""
    rows = events.get("match", ())
    return {"accuracy": accuracy(rows), "boostrap_std": bootstrap_std(rows, seed)}


def mean(events: Rows, name: str) -> float:
    """The mean of a metric over samples; NaN for none."""
    values = [row[name] for row in events.get("metrics", ())]
    return float(np.mean(values)) if values else float("nan")


def normalized(text: str) -> str:
    """Text in lower case, without ASCII punctuation, articles and white space that repeats."""
    text = "".join(each for each in text.lower() if each not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def fuzzy_match(left: str, right: str) -> bool:
    """Whether one normalized text has the other in it; an empty one is like an empty one only."""
    left, right = normalized(left), normalized(right)
    if not left or not right:
        return left == right
    return left in right or right in left


def f1(text: str, expected: Sequence[str]) -> float:
    """The F1 of an answer's words, beside the expected text where it is highest, as for SQuAD."""
    return max(_f1(normalized(text).split(), normalized(each).split()) for each in expected)


def _f1(answer: list[str], expected: list[str]) -> float:
    same = sum((Counter(answer) & Counter(expected)).values())
    if same == 0:
        return 0
    precision, recall = same / len(answer), same / len(expected)
    return (2 * precision * recall) / (precision + recall)
