"""Rows with a field of text: JSON lines and Parquet.

    jsonl     one object a line
    parquet   columns; with the extra `parquet`

The fields of the options name the text, the id, the licence and the address of a row. Ids are the
file's name, "#" and the number of the line or row, from 1, where no field has them.
"""

import functools
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from gptjax.curation.document import Document
from gptjax.curation.readers.faults import Faults
from gptjax.curation.readers.reading import Found, ReaderOptions, reader
from gptjax.curation.readers.texts import checked
from gptjax.data.corpora.json_fields import field_of
from gptjax.data.corpora.parquet import parquet_batches
from gptjax.data.corpora.text_files import open_text

_CHUNK = 1 << 16


@reader("jsonl", ".jsonl")
def read_json_lines(file: Found, options: ReaderOptions, faults: Faults) -> Iterator[Document]:
    """A line is a row; one above `most_bytes` is passed over without being held in memory."""
    with open_text(file.path) as opened:
        for number, line in bounded_lines(opened, options.most_bytes):
            where = f"{file.name}:{number}"
            if line is None:
                most = options.most_bytes
                faults.add("too_long", where, f"more than {most:,} bytes, expected a shorter line")
            elif line.strip():
                row = _row(line, where, options, faults)
                if row is not None:
                    yield from _documents(row, f"{file.name}#{number}", where, options, faults)


@reader("parquet", ".parquet")
def read_parquet(file: Found, options: ReaderOptions, faults: Faults) -> Iterator[Document]:
    """A row of a Parquet file; texts above `most_bytes` are left out."""
    columns = [name for name in _fields(options) if name is not None]
    number = 0
    for batch in parquet_batches(file.path, columns):
        for values in zip(*batch.values(), strict=True):
            number += 1
            where = f"{file.name}:{number}"
            row = dict(zip(columns, values, strict=True))
            yield from _documents(row, f"{file.name}#{number}", where, options, faults)


def bounded_lines(file: BinaryIO, most_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers, from 1; None for a line above `most_bytes`, which is skipped."""
    number, readline = 0, functools.partial(file.readline, most_bytes + 1)
    for line in iter(readline, b""):
        number += 1
        if len(line) <= most_bytes or line.endswith(b"\n"):
            yield number, line
            continue
        while rest := file.readline(_CHUNK):
            if rest.endswith(b"\n"):
                break
        yield number, None


def _fields(options: ReaderOptions) -> tuple[str | None, ...]:
    return options.text_field, options.id_field, options.licence_field, options.url_field


def _row(line: bytes, where: str, options: ReaderOptions, faults: Faults) -> dict | None:
    try:
        row = json.loads(line.rstrip())
    except UnicodeDecodeError as error:
        if options.invalid_utf8 == "replace":
            return _row(line.decode(errors="replace").encode(), where, options, faults)
        found = f"byte {error.start} is {line[error.start]:#04x}, expected UTF-8"
        faults.add("invalid_utf8", where, found)
        return None
    except (json.JSONDecodeError, RecursionError) as error:
        said = getattr(error, "msg", "nested too deep")
        faults.add("malformed_json", where, f"{said} at {line[:40]!r}, expected one object a line")
        return None
    if not isinstance(row, dict):
        found = f"got {type(row).__name__}, expected an object with {options.text_field!r}"
        faults.add("missing_field", where, found)
        return None
    return row


def _documents(
    row: dict[str, Any], place: str, where: str, options: ReaderOptions, faults: Faults
) -> Iterator[Document]:
    """The document of a row, or a fault."""
    values = []
    for field in _fields(options):
        try:
            value = None if field is None else field_of(where, row, field)
        except ValueError as error:
            faults.add("missing_field", where, str(error).removeprefix(f"{where}: "))
            return
        values.append(value)
    text, id, licence, url = values
    if not isinstance(text, str):
        reason = "null" if text is None else "not_a_string"
        found = f"field {options.text_field!r} is of type {type(text).__name__}, expected a string"
        faults.add(reason, where, found)
        return
    if len(text) > options.most_bytes:
        faults.add("too_long", where, f"{len(text):,} characters, expected a shorter text")
        return
    sound = checked(text, where, options, faults)
    if sound is not None:
        yield Document(
            id=place if id is None else str(id),
            text=sound,
            source=options.source,
            licence=options.licence if licence is None else str(licence),
            metadata={} if url is None else {"url": str(url)},
        )
