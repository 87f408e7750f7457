"""Web archives (ISO 28500, WARC 1.0 and 1.1): texts that a crawl extracted, and its pages.

    warc    records `conversion` of WET files are texts; `response` and `resource` that are HTML or
            plain text are made texts, HTML with the extra `warc`; other records are no documents

An id is the file's name, "#" and the number of the record, from 1; `metadata` has the url. Members
of a gzip file follow each other, as Common Crawl writes them. A record ends where the next
begins, where the length in its header says otherwise.
"""

import dataclasses
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from gptjax.curation.document import Document
from gptjax.curation.readers.faults import Faults
from gptjax.curation.readers.pages import page_text, plain_page
from gptjax.curation.readers.reading import Found, ReaderOptions, reader
from gptjax.data.corpora.text_files import UNREADABLE, open_bytes

_LONGEST_LINE = 1 << 16  # bytes of a line of a header
_CHUNK = 1 << 16
_BEGINS = re.compile(rb"^WARC/1\.[01]\r?\nWARC-", re.MULTILINE)


@dataclasses.dataclass
class Record:
    """A record of an archive.

    Attributes:
      number: its place in the file, from 1.
      fields: of its header, names in lower case.
      block: what it holds; None: more bytes than are wanted, which were passed over.
    """

    number: int
    fields: dict[str, str]
    block: bytes | None


@reader("warc", ".warc")
def read_warc(file: Found, options: ReaderOptions, faults: Faults) -> Iterator[Document]:
    """Documents of one archive."""
    with open_bytes(file.path) as opened:
        for record in records(opened, file.name, options.most_bytes, faults):
            kind = record.fields.get("warc-type", "")
            if kind not in ("conversion", "response", "resource"):
                continue
            where = f"{file.name}:{record.number}"
            if record.block is None:
                most = options.most_bytes
                faults.add(
                    "too_long", where, f"more than {most:,} bytes, expected a shorter record"
                )
                continue
            mime = record.fields.get("content-type", "")
            make = page_text if kind == "response" else plain_page
            text = make(record.block, mime, where, options, faults)
            if text is not None:
                url = record.fields.get("warc-target-uri", "").strip("<>")
                name = f"{file.name}#{record.number}"
                yield Document(name, text, options.source, options.licence, {"url": url})


def records(
    file: BinaryIO, name: str, most_bytes: int, faults: Faults, before: int = 0
) -> Iterator[Record]:
    """Records of an archive, in order; what is between them and is none is a fault.

    Args:
      file: decompressed.
      name: of the file, for the faults.
      most_bytes: of a block that is held in memory.
      faults: gets broken_record for a header or a length that is no number.
      before: number of the record before the first.
    """
    number, line = before, _next_line(file)
    while line:
        if not line.startswith(b"WARC/"):
            found = f"{line[:40]!r}, expected WARC/1.0"
            faults.add("broken_record", f"{name}:{number + 1}", found)
            line = _skip_to_record(file)
            continue
        number += 1
        fields = _header(file)
        try:
            length = int(fields.get("content-length", ""))
        except ValueError:
            found = f"content-length {fields.get('content-length')!r}, expected a number"
            faults.add("broken_record", f"{name}:{number}", found)
            line = _skip_to_record(file)
            continue
        block = _block(file, length, most_bytes)
        more = bytearray()
        try:
            while (line := file.readline(_LONGEST_LINE)) and not line.startswith(b"WARC/"):
                more += line if len(more) <= most_bytes else b""
        except UNREADABLE:
            yield Record(number, fields, block)
            raise
        if not more.strip():
            more.clear()
        if more and block is not None:
            block = bytes(block + more) if len(block) + len(more) <= most_bytes else None
        inside = _BEGINS.search(block) if more and block is not None else None
        yield Record(number, fields, block[: inside.start()] if inside and block else block)
        if inside and block:
            hidden = io.BytesIO(block[inside.start() :])
            for record in records(hidden, name, most_bytes, faults, number):
                number = record.number
                yield record


def _next_line(file: BinaryIO) -> bytes:
    """The next line that is not blank; b"" at the end."""
    while (line := file.readline(_LONGEST_LINE)) in (b"\r\n", b"\n"):
        pass
    return line


def _skip_to_record(file: BinaryIO) -> bytes:
    while (line := file.readline(_LONGEST_LINE)) and not line.startswith(b"WARC/"):
        pass
    return line


def _header(file: BinaryIO) -> dict[str, str]:
    fields: dict[str, str] = {}
    while line := file.readline(_LONGEST_LINE).strip():
        name, _, value = line.decode(errors="replace").partition(":")
        fields[name.strip().lower()] = value.strip()
    return fields


def _block(file: BinaryIO, length: int, most_bytes: int) -> bytes | None:
    if length <= most_bytes:
        return file.read(length)
    while length > 0 and (chunk := file.read(min(length, _CHUNK))):
        length -= len(chunk)
    return None
