"""MultipleChoice, Lambada and MMLU: questions whose answer is a letter or a word.

The first two name data sets of a hub, hf://hendrycks_test?name=anatomy&split=validation. They are
read from files on this machine: `datasets` gives a file or a folder for each name.

    hendrycks_test   the folder of MMLU with dev/, val/ and test/, each with SUBJECT_SPLIT.csv
    hellaswag        JSON lines: {ctx, endings, label}, or {query, choices, gold}
    lambada          JSON lines: {text}

Source: evals/elsuite/multiple_choice.py, lambada.py, formatting.py and sandbagging/mmlu_eval.py of
openai/evals 3.0.1.
"""

import csv
import dataclasses
import random
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from gptjax.evals.openai_evals import samples
from gptjax.evals.openai_evals.classes.base import (
    Asks,
    Call,
    Context,
    Eval,
    Event,
    FromFile,
    accuracy,
    bootstrap_std,
    field,
    starts_with,
)
from gptjax.evals.openai_evals.classes.basic import Rows
from gptjax.registry import unknown_name

DATASETS = ("hendrycks_test", "hellaswag", "lambada")
_SPLITS = {"validation": "val", "test": "test", "dev": "dev", "train": "dev"}
_LETTERS = "ABCD"


@dataclasses.dataclass(frozen=True)
class Question:
    """A question with its answers, of which the one at `label` is right."""

    question: str
    answers: list[str]
    label: int


@dataclasses.dataclass
class MultipleChoice(Eval):
    """An answer is right if it begins with the letter of the right option; options are shuffled."""

    dataset: str
    instructions: str = ""

    def samples(self) -> list[Any]:
        return questions(self.dataset, self.context)

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        options, letter = lettered(sample, rng)
        prompt = (
            f"{self.instructions}\nPlease answer with the letter of the correct answer."
            f"\n\n{sample.question}\n{options}"
        )
        text = yield Call(prompt, {"temperature": 0.0, "max_tokens": 1})
        return [starts_with(text, [letter])]

    def report(self, events: Rows) -> dict[str, Any]:
        return {"accuracy": accuracy(events.get("match", ()))}


@dataclasses.dataclass
class Lambada(Eval):
    """An answer is right if it begins with the last word of the text."""

    subset: str

    def samples(self) -> list[Any]:
        if self.subset not in ("en", "default"):
            raise ValueError(f"subset: got {self.subset!r}, expected en")
        return samples.read(_file("lambada", self.context))

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        del rng
        *words, last = str(field(sample, "text")).split()
        prompt = f"Please answer with the word which is most likely to follow:\n\n{' '.join(words)}"
        text = yield Call(prompt, {"temperature": 0.0, "max_tokens": 8})
        return [starts_with(text, [last])]

    def report(self, events: Rows) -> dict[str, Any]:
        return {"accuracy": accuracy(events.get("match", ()))}


@dataclasses.dataclass
class MMLU(FromFile):
    """MMLU as the evals of sandbagging ask it without a target: a question that has its options."""

    last = "metrics"

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        del rng
        question, answer = str(field(sample, "question")), str(field(sample, "answer"))
        asked = [{"role": "user", "content": question}]
        system = "The following are multiple choice questions (with answers).\n\n"
        text = yield Call([{"role": "system", "content": system}, *asked], {})
        text = text.lstrip()
        correct = text.startswith(answer)
        return [
            Event(
                "metrics",
                {
                    "prompt": asked,
                    "sampled": text,
                    "expected": answer,
                    "picked": answer if correct else None,
                    "correct": correct,
                },
            )
        ]

    def report(self, events: Rows) -> dict[str, Any]:
        rows = events.get("metrics", ())
        deviation = bootstrap_std(rows, self.context.seed)
        return {"accuracy": accuracy(rows), "bootstrap_std_target": deviation}


def lettered(question: Question, rng: random.Random) -> tuple[str, str]:
    """The shuffled options, a line each, and the letter of the right one."""
    places = list(range(len(question.answers)))
    rng.shuffle(places)
    lines = [f"{chr(ord('A') + i)}) {question.answers[at]}" for i, at in enumerate(places)]
    return "\n".join(lines), chr(ord("A") + places.index(question.label))


def questions(url: str, context: Context) -> list[Question]:
    """The questions that a URL hf://NAME?name=SUBJECT&split=SPLIT names.

    Raises:
      ValueError: another data set, or one that is not on this machine.
    """
    parsed = urlparse(url)
    query = {name: values[0] for name, values in parse_qs(parsed.query).items()}
    if parsed.scheme != "hf":
        raise ValueError(f"dataset: got {url!r}, expected hf://NAME?split=SPLIT")
    if parsed.netloc == "hendrycks_test":
        return _mmlu(_file("hendrycks_test", context), **query)
    if parsed.netloc == "hellaswag":
        return [_story(row) for row in samples.read(_file("hellaswag", context))]
    raise unknown_name("data set", parsed.netloc, DATASETS)


def _file(name: str, context: Context) -> Path:
    if name not in context.datasets:
        raise ValueError(
            f"data set {name!r}: got no file of it, expected one as --datasets={name}=PATH"
        )
    path = Path(context.datasets[name])
    if not path.exists():
        raise ValueError(
            f"data set {name!r}: got {path}, expected a file or a folder that is there"
        )
    return path


def _mmlu(folder: Path, name: str = "", split: str = "validation") -> list[Question]:
    part = _SPLITS.get(split)
    if part is None:
        raise unknown_name("split", split, _SPLITS)
    path = folder / part / f"{name}_{part}.csv"
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return [Question(row[0], row[1:-1], _LETTERS.index(row[-1])) for row in rows]


def _story(row: Any) -> Question:
    if isinstance(row, dict) and "query" in row:
        return Question(row["query"], row["choices"], int(row["gold"]))
    return Question(field(row, "ctx"), field(row, "endings"), int(field(row, "label")))
