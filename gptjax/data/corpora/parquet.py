"""Rows of Parquet files, a few at a time, with the extra `parquet`; and the corpus of them.

    load_corpus("parquet:wiki/*.parquet#text")
    for batch in parquet_batches(path, ["text", "url"]):   # lists of values, by column
        ...

A column may be a field in a field, `a.b`, as in JSON lines. Memory is bounded by the pages of a
column and by the rows that are read together, not by the file or its row groups.
"""

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

from gptjax.data.corpora.found_files import find_files
from gptjax.data.corpora.json_fields import NULL
from gptjax.data.corpora.remote import FilePath
from gptjax.data.corpora.text import CORPORA, Corpus, Document, warn_once
from gptjax.data.corpora.text_files import Decoder, readable

ROWS = 64  # that are read together
_BUFFER = 1 << 20  # bytes of a column that are read ahead


def parquet_batches(
    path: FilePath, columns: Sequence[str], rows: int = ROWS
) -> Iterator[dict[str, list[Any]]]:
    """Values of columns, in the order of the rows, at most `rows` in each list.

    Raises:
      ValueError: no pyarrow, no Parquet file, or no such column.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ValueError(
            f"{path} needs the package pyarrow, which is not installed; expected the extra "
            "`parquet` (pip install 'gptjax[parquet]')"
        ) from None
    with readable(path), path.open("rb") as file, _as_value_error(path):
        table = parquet.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER)
        there = set(table.schema_arrow.names)
        missing = [
            name for name in columns if name not in there and name.split(".")[0] not in there
        ]
        if missing:
            raise ValueError(
                f"{path}: no column {missing[0]!r}, got {', '.join(table.schema_arrow.names)}; "
                "expected a file with it"
            )
        for batch in table.iter_batches(batch_size=rows, columns=list(columns)):
            values = batch.to_pylist()
            yield {name: [_inside(row, name) for row in values] for name in columns}


@CORPORA.register("parquet")
def parquet(location: str, invalid_utf8: str) -> Corpus:
    """Parquet files; a document is the string in one of their columns."""
    spec = f"parquet:{location}"
    path_location, _, field = location.rpartition("#")
    if not path_location or not field:
        raise ValueError(
            f"corpus {spec!r} names no path or no column; expected parquet:PATH#column"
        )
    files = find_files(spec, path_location, ".parquet")

    def read() -> Iterator[Document]:
        nulls = 0
        for path in files:
            decoder, number = Decoder(path, invalid_utf8), 0
            for batch in parquet_batches(path, [field]):
                for value in batch[field]:
                    name, number = f"{path}:{number}", number + 1
                    if value is None:
                        nulls += 1
                    elif isinstance(value, str):
                        yield Document(name, decoder.without_lone_surrogates(value, 0))
                    else:
                        got = type(value).__name__
                        raise ValueError(
                            f"{name}: column {field!r} is of type {got}; expected a string"
                        )
            decoder.finish()
        if nulls:
            warn_once(f"{spec}: dropped {nulls} rows: {NULL}")

    return Corpus(spec, files, read, invalid_utf8)


def _inside(row: dict[str, Any], name: str) -> Any:
    """The value of "a", or of the field b of the structure in a."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        value = None if value is None else value[part]
    return value


@contextlib.contextmanager
def _as_value_error(path: FilePath) -> Iterator[None]:
    lib = importlib.import_module("pyarrow")
    try:
        yield
    except (lib.ArrowException, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"cannot read {path}: {said}; expected a Parquet file") from error
