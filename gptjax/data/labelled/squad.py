"""Questions about passages, in SQuAD's format (Rajpurkar et al. 2016, arXiv 1606.05250).

    for question in load_questions("train-v1.1.json"):
        print(question.question, question.answers)

A file is one JSON object. `data[].paragraphs[]` have a `context` and `qas[]`; these have `id`,
`question` and `answers[]`, each a `text` that begins at the character `answer_start` of the
context. Version 2, where a question may have no answer, is refused.
"""

import dataclasses
from collections.abc import Iterator

from gptjax.data.corpora.found_files import find_files
from gptjax.data.corpora.json_fields import parsed
from gptjax.data.corpora.text_files import open_text
from gptjax.data.dialogue.records import Records, Row, decoded, log_dropped, sift

MISPLACED = "no answer stands where the file says"  # why a question is dropped


@dataclasses.dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
      id: its name, which no other question has.
      question: its text.
      context: the passage with the answer.
      answers: what people have answered.
      start: the character of the context at which the first answer begins that stands there.
      end: the character behind that answer.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    start: int
    end: int


def load_questions(spec: str) -> Records[Question]:
    """Reads the questions of a file, a directory with *.json, or a glob.

    A question none of whose answers stands where the file says is dropped, counted and logged.

    Raises:
      ValueError: no files there; what is not in the format, a question without an answer, or an id
        that is there twice (named); or nothing left.
    """
    records = sift(spec, _read(spec))
    log_dropped(records)
    return records


def _read(spec: str) -> Iterator[tuple[Question | None, str | None]]:
    seen: set[str] = set()
    for row, context in _rows(spec):
        if row.fields.get("is_impossible"):
            raise row.wrong(
                "'is_impossible'", "true", "SQuAD v1.1, where each question is answered"
            )
        name = row.text("id")
        if name in seen:
            raise row.wrong("'id'", repr(name), "one that no other question has")
        seen.add(name)
        texts, place = [], None
        for answer in _objects(row, "answers"):
            texts.append(answer.text("text"))
            start = answer.value("answer_start", "a number")
            if type(start) is not int:
                raise answer.wrong("'answer_start'", repr(start), "a number of characters")
            stands = start >= 0 and texts[-1] and context.startswith(texts[-1], start)
            if place is None and stands:
                place = start, start + len(texts[-1])
        if place is None:
            yield None, MISPLACED
        else:
            yield Question(name, row.text("question"), context, tuple(texts), *place), None


def _rows(spec: str) -> Iterator[tuple[Row, str]]:
    """Each question of `qas`, and the context that it is about."""
    for path in find_files(spec, spec, ".json"):
        with open_text(path) as file:
            whole = parsed(
                str(path), decoded(str(path), file.read()), "an object in SQuAD's format"
            )
        for article in _objects(_as_row(str(path), whole), "data"):
            for paragraph in _objects(article, "paragraphs"):
                context = paragraph.text("context")
                for row in _objects(paragraph, "qas"):
                    yield row, context


def _objects(row: Row, field: str) -> Iterator[Row]:
    values = row.as_list(repr(field), row.value(field, "a list of objects"))
    for index, value in enumerate(values):
        yield _as_row(f"{row.name}.{field}[{index}]", value)


def _as_row(name: str, value: object) -> Row:
    if not isinstance(value, dict):
        raise Row(name, {}).wrong("value", type(value).__name__, "an object in SQuAD's format")
    return Row(name, value)
