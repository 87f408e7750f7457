"""Labelled examples, by name: the data of a task that a model is fine-tuned on.

    fields = Fields(text="goal", choices=("sol1", "sol2"), labels=("0", "1"))
    examples = load_examples("jsonl:valid.jsonl,labels=valid-labels.lst", fields)

A specification is the name of an entry of `EXAMPLES`, with a location:

    jsonl:PATH   one JSON object a line
    tsv:PATH     columns divided by tabs, without quotes; if all fields that are read are numbers,
                 they count columns from 1, otherwise the first line of a file names its columns
    embedded[:split=held_out,count=500,...]   more animals or more things, see `embedded`

PATH is a file, a directory or a glob, as for corpora. `,labels=FILE` behind it says that the labels
are the lines of another file. To add a set, register a function
`(spec, location, fields) -> Records[Example]`.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from gptjax.data.corpora.found_files import find_files
from gptjax.data.corpora.text_files import open_text
from gptjax.data.dialogue.instructions_sets import parse_options
from gptjax.data.dialogue.records import Records, Row, decoded, log_dropped, read_records
from gptjax.data.labelled.embedded import EmbeddedOptions, embedded_examples
from gptjax.registry import Registry, of_path


@dataclasses.dataclass(frozen=True)
class Example:
    """One example of a task.

    Attributes:
      texts: the text; the two texts of a pair; or a context, and the candidates to choose from.
      target: index of its class or of the right candidate; a float where numbers are predicted.
    """

    texts: tuple[str, ...]
    target: int | float


@dataclasses.dataclass(frozen=True)
class Fields:
    """Names of what is read of a row.

    Attributes:
      text: field of the text, or of the context.
      text_b: field of the second text; None: there is none.
      choices: fields of the candidates, or the one field with a list of them; (): there are none.
      label: field of the label.
      labels: names of the classes, or of the candidates in their order; None: labels are numbers.
    """

    text: str = "text"
    text_b: str | None = None
    choices: tuple[str, ...] = ()
    label: str = "label"
    labels: tuple[str, ...] | None = None

    def example(self, row: Row) -> Example:
        """Reads a row.

        Raises:
          ValueError: a field is missing or of another type, or the label is none of `labels`.
        """
        texts = [row.text(self.text)]
        if self.text_b is not None:
            texts.append(row.text(self.text_b))
        texts += self._candidates(row)
        target = self._target(row)
        if self.choices and not target < len(texts) - 1:
            raise row.wrong(
                repr(self.label),
                self.labels[int(target)] if self.labels else target,
                f"one of the {len(texts) - 1} candidates",
            )
        return Example(tuple(texts), target)

    def _candidates(self, row: Row) -> list[str]:
        if len(self.choices) != 1:
            return [row.text(field) for field in self.choices]
        (field,) = self.choices
        given = row.as_list(repr(field), row.value(field, "a list of strings"))
        most = len(self.labels or ())
        if len(given) > most:
            raise row.wrong(repr(field), f"{len(given)} candidates", f"at most {most}, as labels")
        return [row.as_text(f"{field!r}[{i}]", text) for i, text in enumerate(given)]

    def _target(self, row: Row) -> int | float:
        value = row.value(self.label, "a label")
        name = value if isinstance(value, str) else json.dumps(value)
        if self.labels is not None:
            if name not in self.labels:
                raise row.wrong(repr(self.label), repr(name), f"one of {', '.join(self.labels)}")
            return self.labels.index(name)
        try:
            number = float(name)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise row.wrong(repr(self.label), repr(name), "a number")
        return number


EXAMPLES: Registry[Callable[[str, str, Fields], Records[Example]]] = Registry(
    "set of labelled examples"
)


def load_examples(spec: str, fields: Fields) -> Records[Example]:
    """Reads a set of labelled examples; what it drops is counted and logged.

    Raises:
      ValueError: no such set, no files there, a row that is not as it should be (named), or
        nothing left.
    """
    name, _, location = spec.partition(":")
    records = EXAMPLES.get(name, of_path("jsonl:PATH", spec))(spec, location, fields)
    log_dropped(records)
    return records


@EXAMPLES.register("jsonl")
def json_lines(spec: str, location: str, fields: Fields) -> Records[Example]:
    """One object a line."""
    path, _, labels = location.partition(",labels=")
    labelled = _Labelled(labels, fields)
    records = read_records(spec, path, lambda row: [fields.example(labelled(row))])
    labelled.finish()
    return records


@EXAMPLES.register("tsv")
def columns(spec: str, location: str, fields: Fields) -> Records[Example]:
    """One row of columns a line."""
    path, _, labels = location.partition(",labels=")
    labelled = _Labelled(labels, fields)
    examples = [fields.example(labelled(row)) for row in _rows(spec, path, fields, labels)]
    labelled.finish()
    return Records(spec, tuple(examples))


@EXAMPLES.register("embedded")
def embedded(spec: str, location: str, fields: Fields) -> Records[Example]:
    """Made-up texts with more animals or more things in them."""
    options = dataclasses.asdict(parse_options(spec, location, EmbeddedOptions))
    rows = (
        Row(f"{spec}:{number}", {fields.text: text, fields.label: label})
        for number, (text, label) in enumerate(embedded_examples(**options), start=1)
    )
    return Records(spec, tuple(map(fields.example, rows)))


def _rows(spec: str, location: str, fields: Fields, labels: str) -> Iterator[Row]:
    names = [fields.text, fields.text_b, *fields.choices, *([] if labels else [fields.label])]
    numbered = all(name is None or name.isdecimal() for name in names)
    for path in find_files(spec, location, ".tsv"):
        header: list[str] | None = None
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                name = f"{path}:{number}"
                cells = decoded(name, line).rstrip("\r\n").split("\t")
                if not numbered and header is None:
                    header = cells
                    for field in names:
                        if field is not None and field not in header:
                            raise ValueError(
                                f"{name}: got no column {field!r} in the first line, expected names"
                                " of columns there, or numbers in place of all names of fields"
                            )
                    continue
                titles = header or [str(i + 1) for i in range(len(cells))]
                if len(cells) != len(titles):
                    raise Row(name, {}).wrong(
                        "row", f"{len(cells)} columns", f"{len(titles)}, as in the first line"
                    )
                yield Row(name, dict(zip(titles, cells, strict=True)))


class _Labelled:
    """Puts the lines of a file of labels into rows; without a file, leaves rows as they are."""

    def __init__(self, path: str, fields: Fields):
        self._path, self._field, self._lines = path, fields.label, iter(())
        if path:
            with open_text(Path(path)) as file:
                lines = [decoded(f"{path}:{i}", x).strip() for i, x in enumerate(file, start=1)]
            self._lines = iter(lines)

    def __call__(self, row: Row) -> Row:
        if not self._path:
            return row
        label = next(self._lines, None)
        if label is None:
            raise row.wrong("label", f"the end of {self._path}", "a line for every row")
        return Row(row.name, row.fields | {self._field: label})

    def finish(self) -> None:
        """Raises ValueError where labels are left."""
        left = len(list(self._lines))
        if left:
            raise ValueError(f"{self._path}: got {left} more labels than rows, expected one a row")
