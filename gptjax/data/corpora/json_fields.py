"""Fields of JSON records, also of records in records: `a.b`.

field_of("chats.jsonl:7", {"data": {"text": "Hello"}}, "data.text")   # "Hello"
"""

import json
from typing import Any

NULL = "null in what is read"  # why a row is dropped


def parsed(name: str, record: str, expected: str) -> Any:
    """The JSON value that a text spells; ValueError, naming the record, where it spells none."""
    try:
        return json.loads(record)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at column {error.colno}"
        raise ValueError(f"{name}: not JSON ({problem}); expected {expected}") from error


def field_of(name: str, record: Any, field: str) -> Any:
    """The value of a field.

    Args:
      name: of the record, for messages.
      record: a JSON value.
      field: "a", or "a.b" for the field b of the object in a; a field that is called "a.b" is meant
        before that.

    Returns:
      None where the record, or what stands at a field on the way, is null.

    Raises:
      ValueError: there is no such field.
    """
    if record is None:
        return None
    if isinstance(record, dict):
        if field in record:
            return record[field]
        first, dot, rest = field.partition(".")
        if dot and first in record:
            return field_of(f"{name}: {first}", record[first], rest)
    got = f"fields {', '.join(record)}" if isinstance(record, dict) else type(record).__name__
    raise ValueError(f"{name}: no field {field!r}, got {got}; expected an object with it")
