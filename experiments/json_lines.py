"""Files of JSON lines, which are there once they are whole.

write_json_lines("best.jsonl", (chosen.row() for chosen in best_answers(...)))
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_json_lines(path: str | os.PathLike[str], rows: Iterable[Any]) -> None:
    """Writes a line for each of `rows` as it comes; where one fails, `path` stays as it was."""
    unfinished = Path(f"{path}.new")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
