"""Files of JSON and of JSON lines: each takes its place once it is whole.

write_json(path, {"loss": 2.5})
write_json_lines("best.jsonl", (chosen.row() for chosen in best_answers(...)))
rows = read_json_lines("metrics.jsonl", number="step")
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from absl import logging

from gptjax.locks import open_locked


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a file to write that takes the place of `path` at the end, if nothing fails before.

    Args:
      path: in a folder that is there.
      mode: "w" for UTF-8 text, "wb" for bytes.

    Raises:
      ValueError: another process is writing it.
    """
    unfinished = Path(f"{path}.new")
    try:
        descriptor = open_locked(unfinished)
    except BlockingIOError as error:
        raise ValueError(
            f"{path}: another process is writing this file, expected one that no other writes"
        ) from error
    with open(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
        try:
            os.ftruncate(descriptor, 0)  # of a process that was killed
            yield file
            file.flush()
            os.fsync(descriptor)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` to `path` in UTF-8, whole or not at all."""
    with replaced(path) as file:
        file.write(text)


def write_json(path: str | os.PathLike[str], values: Any) -> None:
    """Writes `values` to `path`, whole or not at all."""
    with replaced(path) as file:
        file.write(json.dumps(values, indent=2) + "\n")


def write_json_lines(path: str | os.PathLike[str], rows: Iterable[Any]) -> None:
    """Writes a line for each of `rows` as it comes; where one fails, `path` stays as it was."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def read_json_lines(path: str | os.PathLike[str], number: str) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines, in order.

    A damaged line is left out: one that is not a JSON object with a whole number in the field
    `number`. A warning names such lines, unless it is a last line that was cut off while it was
    written.

    Raises:
      OSError: the file cannot be read.
    """
    content = Path(path).read_bytes()
    lines = content.splitlines()
    cut = {len(lines)} if not content.endswith(b"\n") else set()
    rows, damaged = [], []
    for place, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and type(row.get(number)) is int:
            rows.append(row)
        elif place not in cut:
            damaged.append(f"line {place} ({line[:40]!r})")
    if damaged:
        more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
        logging.warning(
            "%s has damaged lines, which are left out: %s%s", path, ", ".join(damaged[:5]), more
        )
    return rows
