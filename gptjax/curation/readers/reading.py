"""Readers by name: each makes documents of one file, whatever its size, and counts what it cannot.

    options = ReaderOptions(source="books", licence="public domain")
    faults = Faults()
    for file in found("gutenberg", "shared/data/gutenberg"):
        for document in READERS.get("gutenberg").read(file, options, faults):
            ...

`documents` is that loop. A file that is cut or damaged gives the documents before the damage, but
for the last few kilobytes where it is compressed, and a fault `unreadable`.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from gptjax.curation.document import Document
from gptjax.curation.readers.faults import Faults
from gptjax.data.corpora.found_files import find_files
from gptjax.data.corpora.remote import FilePath
from gptjax.registry import Registry
from gptjax.settings import REQUIRED, setting, validate


@dataclasses.dataclass(frozen=True)
class ReaderOptions:
    """How files become documents."""

    source: str = setting(REQUIRED, "name of the corpus, which its documents carry")
    licence: str | None = setting(
        None, "licence of the texts where a row states none; none: unknown"
    )
    text_field: str = setting("text", "field or column with the text; a.b is a field in a field")
    id_field: str | None = setting(None, "field with the id; none: the file and the place in it")
    licence_field: str | None = setting(None, "field with the licence; none: no field has it")
    url_field: str | None = setting(None, "field with the address of a page; none: no field has it")
    most_bytes: int = setting(
        1 << 24, "bytes of the longest line, record or document; longer text is cut", low=1 << 10
    )
    invalid_utf8: str = setting(
        "drop", "what happens to text that is no UTF-8", choices=("drop", "replace")
    )

    def __post_init__(self):
        validate(self, "reader.")


@dataclasses.dataclass(frozen=True)
class Found:
    """A file of a corpus.

    Attributes:
      path: where it is.
      name: below the location that was given, for ids; the same wherever that location lies.
    """

    path: FilePath
    name: str


@dataclasses.dataclass(frozen=True)
class Reader:
    """A format of files.

    Attributes:
      suffix: of names in a directory: ".jsonl".
      read: documents of one file; what is none of them is counted in the faults.
    """

    suffix: str
    read: Callable[[Found, ReaderOptions, Faults], Iterator[Document]]


READERS: Registry[Reader] = Registry("reader")


def reader(name: str, suffix: str):
    """Decorator that registers a function as the `Reader.read` of a format.

    A file that cannot be read, or not to its end, is a fault.
    """

    def enter(read: Callable[[Found, ReaderOptions, Faults], Iterator[Document]]):
        def guarded(file: Found, options: ReaderOptions, faults: Faults) -> Iterator[Document]:
            try:
                yield from read(file, options, faults)
            except ValueError as error:
                faults.add("unreadable", file.name, str(error))

        READERS.register(name)(Reader(suffix, guarded))
        return read

    return enter


def found(format: str, location: str) -> tuple[Found, ...]:
    """Files of a corpus, sorted by their names.

    Args:
      format: name of a reader; in a directory, files with its suffix are taken.
      location: a file, a directory, a glob, or a URL of one.

    Raises:
      ValueError: no such reader, or nothing is there.
    """
    location = os.path.expanduser(location)
    files = find_files(f"{format}:{location}", location, READERS.get(format).suffix)
    glob = re.search(r"[*?\[]", location)
    if glob and not os.path.exists(location):
        top = location[: glob.start()].rpartition("/")[0]
    else:
        top = location
    return tuple(Found(path, _below(path, top)) for path in files)


def _below(path: FilePath, top: str) -> str:
    """The path in a folder, with slashes; the name of the file where `top` is the file."""
    if isinstance(path, Path):
        name = Path(os.path.relpath(path, top or ".")).as_posix()
    else:
        name = _bare(str(path)).removeprefix(_bare(top)).lstrip("/")
    return path.name if name in ("", ".") else name


def _bare(url: str) -> str:
    return url.partition("://")[2].lstrip("/")


def documents(
    format: str, location: str, options: ReaderOptions, faults: Faults
) -> Iterator[Document]:
    """Documents of all files at a location, in the order of the files' names.

    Raises:
      ValueError: no such reader, nothing there, or no document in all the files.
    """
    empty, read = True, READERS.get(format).read
    for file in found(format, location):
        for document in read(file, options, faults):
            empty = False
            yield document
    if empty:
        why = f"; {faults.first[0]}" if faults.first else ""
        raise ValueError(f"{format}:{location}: got no document{why}, expected at least one")
