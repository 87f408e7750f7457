"""Runs: files of documents on the way, sorted by key, of which any range of keys can be read.

    writer = RunWriter(Path("work/read"), "books-00003", most_bytes=64_000_000)
    for document in documents:
        writer.add(document)
    names = writer.finish()
    run = DocumentRun(Path("work/read"), names[0])
    run.table["digest_high"], run.documents("books", rows)

A run has at most a number of bytes, so that sorting it takes no more memory. All runs together are
sorted by reading one range of keys of each: what lies in a range does not depend on how documents
were divided among runs.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.atomic_files import replaced
from gptjax.curation.document import Document

TABLE = np.dtype(
    [
        ("key_high", "<u8"),
        ("key_low", "<u8"),
        ("digest_high", "<u8"),  # the first 128 bits of SHA-256 of the text
        ("digest_low", "<u8"),
        ("offset", "<i8"),
        ("size", "<i8"),
        ("text_bytes", "<i8"),
    ]
)


def halves(sixteen: bytes) -> tuple[int, int]:
    """16 bytes as two numbers that order as they do."""
    return int.from_bytes(sixteen[:8], "big"), int.from_bytes(sixteen[8:16], "big")


def text_digest(text: str) -> bytes:
    """SHA-256 of a text, 32 bytes."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


class RunWriter:
    """Collects documents, and writes a run whenever there are so many bytes of them."""

    def __init__(self, directory: Path, name: str, most_bytes: int):
        """`name`: with which the names of the runs begin."""
        self._directory = directory
        self._name = name
        self._most_bytes = most_bytes
        self._held: list[tuple[tuple[int, int, int, int], bytes, int, str]] = []
        self._bytes = 0
        self.names: list[str] = []

    def add(self, document: Document) -> None:
        """Takes a document."""
        record: dict[str, Any] = {"id": document.id, "text": document.text}
        if document.licence is not None:
            record["licence"] = document.licence
        if document.metadata:
            record["metadata"] = dict(document.metadata)
        line = json.dumps(record, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"
        order = (*halves(document.key), *halves(text_digest(document.text)))
        text_bytes = len(document.text.encode(errors="surrogatepass"))
        self._held.append((order, line, text_bytes, document.id))
        self._bytes += len(line)
        if self._bytes >= self._most_bytes:
            self._write()

    def finish(self) -> list[str]:
        """Writes what is left; returns the names of all runs."""
        if self._held:
            self._write()
        return self.names

    def _write(self) -> None:
        held = sorted(self._held)
        sizes = np.array([len(line) for _, line, *_ in held], np.int64)
        table = np.zeros(len(held), TABLE)
        for place, field in enumerate(("key_high", "key_low", "digest_high", "digest_low")):
            table[field] = [order[place] for order, *_ in held]
        table["offset"], table["size"] = np.cumsum(sizes) - sizes, sizes
        table["text_bytes"] = [text_bytes for _, _, text_bytes, _ in held]
        name = f"{self._name}-{len(self.names):04}"
        self._directory.mkdir(parents=True, exist_ok=True)
        with replaced(self._directory / f"{name}.jsonl", "wb") as file:
            for _, line, *_ in held:
                file.write(line)
        with replaced(self._directory / f"{name}.npy", "wb") as file:
            np.save(file, table)
        with replaced(self._directory / f"{name}.ids", "wb") as file:
            for *_, id in held:
                file.write(json.dumps(id).encode() + b"\n")
        self.names.append(name)
        self._held, self._bytes = [], 0


class DocumentRun:
    """A run that was written."""

    def __init__(self, directory: Path, name: str):
        """`name`: as the writer gave it."""
        self.name = name
        self._path = directory / f"{name}.jsonl"
        self._table = directory / f"{name}.npy"

    @functools.cached_property
    def table(self) -> np.ndarray:
        """A row of `TABLE` for each document, in the order of their keys."""
        return np.load(self._table, mmap_mode="r")

    @functools.cached_property
    def _content(self) -> np.ndarray:
        return np.memmap(self._path, np.uint8, "r")

    @functools.cached_property
    def ids(self) -> list[str]:
        """The id of each document."""
        with self._path.with_suffix(".ids").open("rb") as file:
            return [json.loads(line) for line in file]

    def between(self, first: int, stop: int) -> np.ndarray:
        """Rows of the documents whose keys' upper 64 bits are in [first, stop)."""
        high = self.table["key_high"]
        bounds = [
            len(high) if bound >= 1 << 64 else int(np.searchsorted(high, np.uint64(bound)))
            for bound in (first, stop)
        ]
        return np.arange(*bounds)

    def documents(self, source: str, rows: Iterable[int] | None = None) -> Iterator[Document]:
        """Reads documents, all or those of some rows, in the order of `rows`."""
        table = self.table
        for row in range(len(table)) if rows is None else map(int, rows):
            first = int(table["offset"][row])
            line = self._content[first : first + int(table["size"][row])].tobytes()
            record = json.loads(line.decode(errors="surrogatepass"))
            yield Document(
                record["id"],
                record["text"],
                source,
                record.get("licence"),
                record.get("metadata", {}),
            )
