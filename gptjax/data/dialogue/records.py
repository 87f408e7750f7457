"""Rows of JSON with their origins, and counts of the rows that were kept and dropped.

    rows = read_rows("jsonl:chats/*.jsonl", "chats/*.jsonl")
    records = Records("jsonl:chats/*.jsonl", tuple(conversation_of(row) for row in rows))

Everything a row can have wrong is a `ValueError` of one line that names the file and the line.
"""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

from absl import logging

from gptjax.data.corpora.text_files import find_files, open_bytes

Item = TypeVar("Item")


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

    def value(self, field: str) -> Any:
        """The value of a field; a missing one raises ValueError, saying which there are."""
        if field not in self.fields:
            found = f"fields {', '.join(self.fields)}" if self.fields else "no fields"
            raise self.wrong("row", found, f"a field {field!r}")
        return self.fields[field]

    def text(self, field: str) -> str:
        """The string of a field; anything but valid Unicode text raises ValueError."""
        return self.as_text(repr(field), self.value(field))

    def as_text(self, what: str, value: object) -> str:
        """`value`, which must be a string of valid Unicode; `what` names it in the error."""
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


def read_rows(spec: str, location: str, suffix: str = ".jsonl") -> Iterator[Row]:
    """Yields the rows of files: one object a line, or, in *.json, one list of objects a file.

    Args:
      spec: the set, for error messages.
      location: a file, a directory or a glob, compressed or not; see `find_files`.
      suffix: how names in a directory must end: .jsonl or .json.

    Raises:
      ValueError: no such files, and what is not JSON, not UTF-8 or no object.
    """
    for path in find_files(spec, location, suffix):
        is_list = path.name.removesuffix(".gz").removesuffix(".zst").endswith(".json")
        with open_bytes(path) as file:
            if is_list:
                rows = _parsed(str(path), file.read(), "a list of objects")
                if not isinstance(rows, list):
                    raise ValueError(f"{path}: got {_a(rows)}, expected a list of objects")
                for index, fields in enumerate(rows):
                    yield _row(f"{path}#{index}", fields)
            else:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        name = f"{path}:{number}"
                        yield _row(name, _parsed(name, line, "one object a line"))


def _parsed(name: str, content: bytes, expected: str) -> Any:
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: got invalid UTF-8 at byte {error.start}, expected UTF-8") from (
            error
        )
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at column {error.colno}"
        raise ValueError(f"{name}: not JSON ({problem}); expected {expected}") from error


def _row(name: str, fields: Any) -> Row:
    if not isinstance(fields, dict):
        raise ValueError(f"{name}: got {_a(fields)}, expected an object")
    return Row(name, fields)


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
