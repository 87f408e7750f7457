"""Rows of JSON with their origins, and counts of the rows that were kept and dropped.

    location = "chats/*.jsonl#data"
    records = read_records(f"jsonl:{location}", location, lambda row: [conversation_of(row)])

Everything a row can have wrong is a `ValueError` of one line that names the file and the line.
"""

import collections
import dataclasses
import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

from absl import logging

from gptjax.data.corpora.found_files import find_files
from gptjax.data.corpora.json_fields import NULL, field_of, parsed
from gptjax.data.corpora.text_files import COMPRESSED, open_text

Item = TypeVar("Item")


class Dropped(ValueError):
    """A row that a set leaves out and counts under its `reason`, where others are read."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Row:
    """One JSON object.

    Attributes:
      name: where it stands, FILE:LINE, or FILE#INDEX in a list; begins every error message.
      fields: the object.
    """

    name: str
    fields: dict[str, Any]

    def wrong(self, what: str, got: object, expected: str) -> ValueError:
        """The error that says what of this row is not as it should be."""
        return ValueError(f"{self.name}: {what}: got {got}, expected {expected}")

    def check_not_null(self, what: str, value: object, expected: str) -> None:
        """Raises `Dropped` for null; `what` names the value."""
        if value is None:
            raise Dropped(str(self.wrong(what, "null", expected)), NULL)

    def value(self, field: str, expected: str = "a value") -> Any:
        """The value of a field; a missing one raises ValueError, a null one `Dropped`."""
        if field not in self.fields:
            found = f"fields {', '.join(self.fields)}" if self.fields else "no fields"
            raise self.wrong("row", found, f"a field {field!r}")
        self.check_not_null(repr(field), self.fields[field], expected)
        return self.fields[field]

    def text(self, field: str) -> str:
        """The string of a field; anything but valid Unicode text raises ValueError."""
        return self.as_text(repr(field), self.value(field, "a string"))

    def as_text(self, what: str, value: object) -> str:
        """`value`, which must be a string of valid Unicode; `what` names it in the error."""
        self.check_not_null(what, value, "a string")
        if not isinstance(value, str):
            raise self.wrong(what, type(value).__name__, "a string")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            surrogate = f"the lone surrogate U+{ord(value[error.start]):04X}"
            raise self.wrong(what, surrogate, "valid Unicode") from None
        return value

    def as_list(self, what: str, value: object) -> list[Any]:
        """`value`, which must be a list that is not empty; `what` names it in the error."""
        if not isinstance(value, list) or not value:
            got = "an empty list" if value == [] else type(value).__name__
            raise self.wrong(what, got, "a list that is not empty")
        return value


def read_records(
    spec: str,
    location: str,
    read: Callable[[Row], Iterable[Item]],
    suffix: str = ".jsonl",
) -> "Records[Item]":
    """Reads a set from files: one object a line, or, in *.json, one list of objects a file.

    A null in the place of a row, or where `read` takes a value, drops the row.

    Args:
      spec: the set, for error messages.
      location: a file, a directory or a glob, compressed or not; see `find_files`. `#a.b` behind it
        names the field that holds the row. A list there is the row's `messages`, a text its
        `prompt`.
      read: gives the items of a row; it may raise `Dropped`.
      suffix: how names in a directory must end: .jsonl or .json.

    Raises:
      ValueError: no such files, what is not JSON, not UTF-8 or no object, or nothing left.
    """
    items: list[Item] = []
    dropped = collections.Counter()
    path, field = _path_and_field(location)
    for name, value in _values(spec, path, suffix):
        try:
            items += list(read(_row(name, value, field)))
        except Dropped as error:
            dropped[error.reason] += 1
    return Records(spec, tuple(items), dict(dropped))


def _path_and_field(location: str) -> tuple[str, str | None]:
    """A `#` may also be part of the files' names."""
    path, mark, field = location.rpartition("#")
    if not mark or "/" in field or glob.glob(os.path.expanduser(location)):
        return location, None
    return path, field


def _values(spec: str, location: str, suffix: str) -> Iterator[tuple[str, Any]]:
    for path in find_files(spec, location, suffix):
        bare = path.with_suffix("") if path.suffix in COMPRESSED else path
        with open_text(path) as file:
            if bare.suffix == ".json":
                rows = parsed(str(path), decoded(str(path), file.read()), "a list of objects")
                if not isinstance(rows, list):
                    raise ValueError(f"{path}: got {_a(rows)}, expected a list of objects")
                for index, value in enumerate(rows):
                    yield f"{path}#{index}", value
            else:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        name = f"{path}:{number}"
                        yield name, parsed(name, decoded(name, line), "one object a line")


def decoded(name: str, content: bytes) -> str:
    """The text of UTF-8 bytes; others raise ValueError, which names where they stand."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: got invalid UTF-8 at byte {error.start}, expected UTF-8") from (
            error
        )


def _row(name: str, value: Any, field: str | None) -> Row:
    if field is not None:
        value = field_of(name, value, field)
        if isinstance(value, list | str):
            value = {"messages" if isinstance(value, list) else "prompt": value}
    if value is None:
        raise Dropped(f"{name}: got null, expected an object", NULL)
    if not isinstance(value, dict):
        raise ValueError(f"{name}: got {_a(value)}, expected an object")
    return Row(name, value)


def _a(value: object) -> str:
    return f"a JSON {type(value).__name__}"


@dataclasses.dataclass(frozen=True)
class Records(Sequence[Item], Generic[Item]):
    """A set of conversations, prompts or rankings that is not empty.

    Attributes:
      name: the specification it was loaded from.
      items: what it holds.
      dropped: how many others were left out, by reason.
    """

    name: str
    items: tuple[Item, ...]
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not self.items:
            reasons = [f"{count} {reason}" for reason, count in self.dropped.items()]
            got = f"none of {sum(self.dropped.values())} ({', '.join(reasons)})" if reasons else "0"
            raise ValueError(f"{self.name!r}: got {got} rows, expected at least one to be left")

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def without(self, reason_of: Callable[[Item], str | None]) -> "Records[Item]":
        """The items for which `reason_of` is None; the others are counted by what it says.

        Raises:
          ValueError: nothing is left.
        """
        return sift(self.name, ((item, reason_of(item)) for item in self.items), self.dropped)

    def content_hash(self) -> str:
        """SHA-256 (hex) of the items in their order."""
        content = hashlib.sha256()
        for item in self.items:
            content.update(repr(item).encode() + b"\n")
        return content.hexdigest()


def sift(
    name: str,
    judged: Iterable[tuple[Item | None, str | None]],
    dropped: Mapping[str, int] | None = None,
) -> Records[Item]:
    """Keeps items without a reason against them, and counts the others.

    Args:
      name: of the set.
      judged: pairs of an item and None, or of anything and why it is dropped.
      dropped: counts from before.

    Raises:
      ValueError: nothing is left.
    """
    kept, counts = [], collections.Counter(dropped or {})
    for item, reason in judged:
        if reason is not None:
            counts[reason] += 1
        elif item is not None:
            kept.append(item)
    return Records(name, tuple(kept), dict(counts))


def log_dropped(records: Records, before: Mapping[str, int] | None = None) -> None:
    """Logs how many items a set has lost, and why; `before` are counts that were logged already."""
    for reason, count in records.dropped.items():
        if count != (before or {}).get(reason):
            logging.warning("%s: dropped %d rows: %s", records.name, count, reason)
