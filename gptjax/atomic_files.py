"""Atomic writing of files: each takes its place once it is whole, JSON and JSON lines too.

write_json(path, {"loss": 2.5})
write_json_lines("best.jsonl", (chosen.row() for chosen in best_answers(...)))
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a file to write that takes the place of `path` at the end, if nothing fails before.

    Args:
      path: in a folder that is there.
      mode: "w" for UTF-8 text, "wb" for bytes.
    """
    unfinished = Path(f"{path}.new")
    try:
        with unfinished.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


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
