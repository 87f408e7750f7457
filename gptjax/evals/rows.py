r"""Rows of tables whose columns are divided by commas or tabs, as sets of questions are published.

for row in table_rows("dev.tsv", "\t"):          # the first line names the columns
    row.text("Question Stem")
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from gptjax.data.corpora.text_files import open_text
from gptjax.data.dialogue.records import Row, decoded


def id_of(row: Row) -> str:
    """Names a row in its set, FILE:LINE, wherever the file lies."""
    return Path(row.name).name


def table_rows(
    path: str, delimiter: str, fields: Sequence[str] = (), more: bool = False
) -> Iterator[Row]:
    """Yields rows, each named FILE:LINE.

    Args:
      path: of a file, compressed or not.
      delimiter: between columns: a comma, with quotes as RFC 4180 has them, or a tab, without.
      fields: names of the columns; (): the first line has them.
      more: whether rows may have columns behind those, which are left out.

    Raises:
      ValueError: a file that is not UTF-8, or a row of another number of columns.
    """
    with open_text(Path(path).expanduser()) as file:
        text = decoded(path, file.read())
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    names = list(fields) or next(reader, [])
    first = reader.line_num + 1
    for row in reader:
        row = row[: len(names)] if more else row
        if row and len(row) != len(names):
            raise ValueError(
                f"{path}:{first}: got {len(row)} columns, expected {len(names)}: {', '.join(names)}"
            )
        if row:
            yield Row(f"{path}:{first}", dict(zip(names, row, strict=True)))
        first = reader.line_num + 1
