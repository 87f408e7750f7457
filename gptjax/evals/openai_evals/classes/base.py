"""What every class of evals is: its samples, what it asks of each, and its report.

    @dataclasses.dataclass
    class Match(Eval):
        def asks(self, sample, rng):
            text = yield Call(sample["input"], {"temperature": 0.0})
            return [match(text.startswith(sample["ideal"]), ...)]

What a sample asks is a generator: it yields a call, is sent the text that a model answers, and
returns events. So a runner can have the calls of many samples answered at once.

Source: evals/eval.py, record.py and metrics.py of openai/evals 3.0.1.
"""

import abc
import dataclasses
import math
import random
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gptjax.evals.openai_evals import samples
from gptjax.evals.openai_evals.prompts import Prompt, checked, is_chat
from gptjax.evals.openai_evals.registry import Registry

_HALVES = 1000  # drawn for the standard deviation of an accuracy
GRADER = -1


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a completion function.

    Attributes:
      prompt: text or messages.
      arguments: what the function is given besides, by name.
      by: number of the function; GRADER is the last one.
      draw: calls with equal prompts and other draws may have other answers; the runner sets it.
    """

    prompt: Prompt
    arguments: Mapping[str, Any]
    by: int = 0
    draw: int = 0


@dataclasses.dataclass(frozen=True)
class Event:
    """An event of a sample: its type, and the data that are logged."""

    type: str
    data: Mapping[str, Any]


Asks = Generator[Call, str, list[Event]]


@dataclasses.dataclass(frozen=True)
class Context:
    """What an eval is given besides the arguments of its entry.

    Attributes:
      registry: of all names.
      root: the folder of the entry's registry.
      functions: number of completion functions.
      datasets: files or folders of the data sets that hf:// names, by name.
      strict_choice: whether a grader must name its choice by itself.
      seed: of the draws of samples, and of the report's.
    """

    registry: Registry
    root: Path
    functions: int = 1
    datasets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    strict_choice: bool = False
    seed: int = samples.SEED


@dataclasses.dataclass
class Eval(abc.ABC):
    """An eval: the fields of a subclass are the arguments that a registry's entry gives.

    Attributes:
      context: see there.
      last: type of the event that ends a sample.
    """

    context: Context
    last: ClassVar[str] = "match"
    graded: ClassVar[bool] = False  # whether it takes several completion functions

    @abc.abstractmethod
    def samples(self) -> list[Any]:
        """All samples, in the order of their indices."""

    @abc.abstractmethod
    def asks(self, sample: Any, rng: random.Random) -> Asks:
        """What a sample asks, as the module's docstring says it; ValueError for a wrong sample."""

    @abc.abstractmethod
    def report(self, events: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
        """The final report of the data of events, by type, in the order of the samples."""

    def also_read(self) -> list[Any]:
        """What answers depend on besides samples and arguments, as JSON has it."""
        return []

    def check(self) -> None:
        """Refuses arguments that do not go together, with ValueError."""
        if self.context.functions > 1 and not self.graded:
            raise ValueError(
                f"{type(self).__name__}: got {self.context.functions} completion functions, "
                "expected one; only ModelBasedClassify has a grader"
            )


@dataclasses.dataclass
class FromFile(Eval):
    """An eval whose samples are in a file of JSON lines."""

    samples_jsonl: str

    def samples(self) -> list[Any]:
        return self.rows(self.samples_jsonl)

    def rows(self, path: str) -> list[Any]:
        """Rows of a file that an argument names."""
        return samples.read(samples.located(path, self.context.root))


@dataclasses.dataclass
class WithExamples(FromFile):
    """An eval that may show examples before the question.

    Attributes:
      max_tokens: of the answer; only classes that say so send it.
      num_few_shot: examples shown.
      few_shot_jsonl: file of examples.
    """

    max_tokens: int = 500
    num_few_shot: int = 0
    few_shot_jsonl: str | None = None

    def check(self) -> None:
        super().check()
        self._examples: list[dict[str, str]] = []
        if self.num_few_shot > 0:
            if self.few_shot_jsonl is None:
                raise ValueError("few_shot_jsonl: got none with num_few_shot, expected a file")
            rows = self.rows(self.few_shot_jsonl)
            self._examples = samples.sections(rows, self.num_few_shot, self.few_shot_jsonl)

    def also_read(self) -> list[Any]:
        return list(self._examples)

    def prompt(self, sample: Any) -> Prompt:
        """The input of a sample, with the examples before its last message."""
        prompt = field(sample, "input")
        if self.num_few_shot > 0:
            if not is_chat(prompt):
                raise ValueError("sample: got a text as 'input', expected messages with few shots")
            prompt = [*prompt[:-1], *self._examples, *prompt[-1:]]
        return checked(prompt, "sample: 'input'")


def field(sample: Any, name: str) -> Any:
    """A field that a sample must have."""
    if not isinstance(sample, dict):
        raise ValueError(f"sample: got {str(sample)[:60]!r}, expected an object with {name!r}")
    if name not in sample:
        raise ValueError(f"sample: got {', '.join(sample) or 'nothing'}, expected {name!r} too")
    return sample[name]


def ideals(sample: Any) -> list[str]:
    """The right answers of a sample, which says one text or several."""
    ideal = field(sample, "ideal")
    found = ideal if isinstance(ideal, list) else [ideal]
    if not found or not all(isinstance(each, str) for each in found):
        raise ValueError(f"sample: got {str(ideal)[:60]!r} as 'ideal', expected text or texts")
    return found


def match(correct: bool, expected: Any, picked: Any, **more: Any) -> Event:
    """Whether an answer is right; a list of one expected answer is logged as that answer."""
    if isinstance(expected, list) and len(expected) == 1:
        (expected,) = expected
    return Event("match", {"correct": correct, "expected": expected, "picked": picked, **more})


def starts_with(text: str, expected: list[str], options: list[str] | None = None) -> Event:
    """The match of an answer that is to begin with one of the expected texts."""
    options = expected if options is None else options
    picked = next((option for option in options if text.startswith(option)), None)
    return match(picked in expected, expected, picked, sampled=text, options=options)


def accuracy(rows: Sequence[Mapping[str, Any]]) -> float:
    """The share of rows that are correct; NaN for none."""
    return sum(int(row["correct"]) for row in rows) / len(rows) if rows else math.nan


def bootstrap_std(rows: Sequence[Mapping[str, Any]], seed: int) -> float:
    """The standard deviation of the accuracy over halves of the rows, drawn without replacement.

    The number of correct rows in a half is hypergeometric, so that it is drawn at once. Differs
    from the original, whose draws have no seed.
    """
    half, correct = len(rows) // 2, sum(int(row["correct"]) for row in rows)
    if half == 0:
        return math.nan
    drawn = np.random.default_rng(seed).hypergeometric(
        correct, len(rows) - correct, half, size=_HALVES
    )
    return float(np.std(drawn / half))
