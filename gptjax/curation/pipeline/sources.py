"""Sources: their files, divided into parts, and the documents in them.

    for part in parts_of("web", config.sources["web"], most_bytes=64_000_000):
        documents, faults = read_documents("web", config.sources["web"], part)

The reader `corpus` takes a corpus by its name, as `experiments.train` does: python_docs, text:PATH.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gptjax.curation import planted_noise  # noqa: F401, to register what it makes
from gptjax.curation.document import Document
from gptjax.curation.pipeline.configuration import SourceConfig
from gptjax.curation.readers.faults import Faults
from gptjax.curation.readers.reading import Found
from gptjax.curation.readers.registered import READERS, ReaderOptions, found
from gptjax.data.corpora.text import load_corpus
from gptjax.registry import unknown_name

CORPUS = "corpus"
_OWN = ("source", "licence")  # options that the configuration of a source has itself


def check_source(name: str, source: SourceConfig) -> None:
    """Refuses (ValueError) a reader, an option or a location that there is not."""
    if source.reader == CORPUS:
        if source.options:
            raise ValueError(
                f"sources.{name}.options: got {', '.join(source.options)} with reader=corpus, "
                "expected none"
            )
        load_corpus(source.location)
        return
    if source.reader not in READERS:
        raise unknown_name(f"reader of sources.{name}:", source.reader, [*READERS, CORPUS])
    _options(name, source)
    found(source.reader, source.location)


def parts_of(name: str, source: SourceConfig, most_bytes: int) -> list[tuple[Found, ...]]:
    """The files of a source in their order, some of them in each part; of a corpus one part.

    Raises:
      ValueError: there are no files.
    """
    if source.reader == CORPUS:
        return [(Found(Path(), name),)]
    parts: list[list[Found]] = [[]]
    size = 0
    for file in found(source.reader, source.location):
        of_file = _size(file)
        if parts[-1] and (of_file is None or size + of_file > most_bytes):
            parts.append([])
            size = 0
        parts[-1].append(file)
        size += most_bytes if of_file is None else of_file
    return [tuple(part) for part in parts]


def inputs_of(name: str, source: SourceConfig) -> dict[str, Any]:
    """What tells whether the files of a source are the same: names, sizes and times."""
    if source.reader == CORPUS:
        paths = [(str(path), path) for path in load_corpus(source.location).files]
    else:
        paths = [(file.name, file.path) for file in found(source.reader, source.location)]
    stats = {}
    for shown, path in paths:
        stat = path.stat() if isinstance(path, Path) else None
        stats[f"{name}: {shown}"] = None if stat is None else [stat.st_size, stat.st_mtime_ns]
    return stats


def read_documents(
    name: str, source: SourceConfig, files: Sequence[Found]
) -> tuple[Iterator[Document], Faults]:
    """Documents of some files, and what could not be read of them, whole once they are read."""
    faults = Faults()
    if source.reader == CORPUS:
        documents = (
            Document(document.name, document.text, name, source.licence)
            for document in load_corpus(source.location, invalid_utf8="replace")
        )
        return documents, faults
    options, read = _options(name, source), READERS.get(source.reader).read
    return (one for file in files for one in read(file, options, faults)), faults


def _options(name: str, source: SourceConfig) -> ReaderOptions:
    allowed = [f.name for f in dataclasses.fields(ReaderOptions) if f.name not in _OWN]
    for option in source.options:
        if option not in allowed:
            at = f"sources.{name}.options."
            raise unknown_name("option", at + option, [at + other for other in allowed])
    return ReaderOptions(source=name, licence=source.licence, **source.options)


def _size(file: Found) -> int | None:
    """Bytes of a file; None of one that is far away."""
    return file.path.stat().st_size if isinstance(file.path, Path) else None
