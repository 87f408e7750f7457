"""Texts of evaluation sets by name: what training text is compared with.

    sets = load_evaluation_sets(["lambada:PATH", "ours=jsonl:PATH#prompt,answer"])

    lambada:PATH         JSON lines with `text`
    arc:PATH             JSON lines with `query` and `choices`; "Question: " before it is cut off
    piqa:PATH            JSON lines with `goal`, `sol1` and `sol2`
    gsm8k:PATH           JSON lines with `question` and `answer`; <<1+1=2>> in it is cut off
    jsonl:PATH#a,b.c     JSON lines with fields, each a text or a list of texts
    text:PATH            plain text; an item is a file, or at most 32 KiB of it

`NAME=` before a specification names the set; otherwise it has the specification's name. A PATH is
that of a corpus: a file, a directory or a glob, compressed or not. To add a set, register a
function `(spec, location) -> Iterable[EvaluationItem]`.
"""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from gptjax.data.corpora.json_fields import field_of
from gptjax.data.corpora.text import load_corpus
from gptjax.data.dialogue.records import Row, read_records
from gptjax.registry import Registry, of_path


@dataclasses.dataclass(frozen=True)
class EvaluationItem:
    """One example: its text as a whole, answers too, and an id that is unique in its set."""

    id: str
    text: str


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """A named set of examples."""

    name: str
    items: tuple[EvaluationItem, ...]


EVALUATION_SETS: Registry[Callable[[str, str], Iterable[EvaluationItem]]] = Registry(
    "evaluation set"
)


def load_evaluation_sets(specs: Sequence[str]) -> list[EvaluationSet]:
    """Reads sets; see the module's docstring.

    Raises:
      ValueError: no such set, no files there, a line that is not as it should be (named), a set
        without items, two items of one id in a set, or two sets of one name.
    """
    sets = [_load(spec) for spec in specs]
    for name, count in collections.Counter(each.name for each in sets).items():
        if count > 1:
            raise ValueError(
                f"evaluation sets: got {count} of the name {name!r}, expected one; NAME= before a "
                "specification gives it another"
            )
    return sets


def _load(given: str) -> EvaluationSet:
    name, equals, spec = given.partition("=")
    if not equals or ":" in name:
        name, spec = "", given
    kind, _, location = spec.partition(":")
    form = "jsonl:PATH#FIELD" if ".jsonl" in spec else "text:PATH"
    meant = None if location else of_path(form, spec)
    items = tuple(EVALUATION_SETS.get(kind, meant)(spec, location))
    if not any(item.text.strip() for item in items):
        raise ValueError(
            f"evaluation set {spec!r}: got {len(items)} items without text, expected items with it"
        )
    for id, count in collections.Counter(item.id for item in items).items():
        if count > 1:
            raise ValueError(
                f"evaluation set {spec!r}: got {count} items of the id {id!r}, expected one; files "
                "of one name in different folders are sets of their own"
            )
    plain = kind in ("jsonl", "text")
    return EvaluationSet(name or (spec if plain else kind), items)


@EVALUATION_SETS.register("jsonl")
def json_lines(spec: str, location: str) -> Iterator[EvaluationItem]:
    """JSON objects, one a line, with the fields that are named behind the path."""
    path, _, fields = location.rpartition("#")
    if not path or not fields:
        raise ValueError(f"evaluation set {spec!r}: got no path or no field, expected PATH#a,b")
    return _fields(spec, path, *fields.split(","))


@EVALUATION_SETS.register("text")
def plain_text(spec: str, location: str) -> Iterator[EvaluationItem]:
    """Plain text."""
    for document in load_corpus(f"text:{location}"):
        yield EvaluationItem(Path(document.name).name, document.text)


@EVALUATION_SETS.register("lambada")
def lambada(spec: str, location: str) -> Iterator[EvaluationItem]:
    """LAMBADA, as OpenAI detokenised it."""
    return _fields(spec, location, "text")


@EVALUATION_SETS.register("arc")
def arc(spec: str, location: str) -> Iterator[EvaluationItem]:
    """ARC, easy or challenge, as llm-foundry has it."""
    for item in _fields(spec, location, "query", "choices"):
        yield dataclasses.replace(item, text=item.text.removeprefix("Question: "))


@EVALUATION_SETS.register("piqa")
def piqa(spec: str, location: str) -> Iterator[EvaluationItem]:
    """PIQA: a goal and both solutions."""
    return _fields(spec, location, "goal", "sol1", "sol2")


@EVALUATION_SETS.register("gsm8k")
def gsm8k(spec: str, location: str) -> Iterator[EvaluationItem]:
    """GSM8K: a question and its worked answer."""
    for item in _fields(spec, location, "question", "answer"):
        yield dataclasses.replace(item, text=re.sub("<<.*?>>", "", item.text))


def _fields(spec: str, location: str, *fields: str) -> Iterator[EvaluationItem]:
    def read(row: Row) -> Iterator[EvaluationItem]:
        texts = [text for field in fields for text in _texts(row, field)]
        yield EvaluationItem(Path(row.name).name, "\n".join(texts))

    yield from read_records(spec, location, read)


def _texts(row: Row, field: str) -> list[str]:
    value = field_of(row.name, row.fields, field)
    if isinstance(value, list):
        return [row.as_text(f"{field!r}[{place}]", text) for place, text in enumerate(value)]
    return [row.as_text(repr(field), value)]
