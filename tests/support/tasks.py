"""Tasks for tests of executors; processes import them by name."""

import os
import signal
from pathlib import Path
from typing import Any

from gptjax.curation.document import Document, Dropped


def square(number: int) -> int:
    return number * number


def refuse(number: int) -> int:
    raise ValueError(f"number: got {number}, expected another")


def fill_the_disk(number: int) -> int:
    raise OSError(28, "No space left on device", f"shard-{number}")


def break_down(number: int) -> int:
    raise KeyError(number)


def die_at_first(number: int, marks: str, times: int) -> int:
    """Ends its process without a word, `times` times, and then answers."""
    mark = Path(marks) / f"{number}"
    died = int(mark.read_text()) if mark.exists() else 0
    if died < times:
        mark.write_text(str(died + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return square(number)


def environment() -> dict[str, Any]:
    return {"threads": os.environ.get("OMP_NUM_THREADS"), "process": os.getpid()}


def poisonous(document: Document) -> Document | Dropped:
    """A stage that fails at some documents."""
    if "poison" in document.text:
        raise ZeroDivisionError("of poison\nin two lines")
    return document
