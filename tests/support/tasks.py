"""Tasks for tests of executors; processes import them by name."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gptjax.curation.document import Document, Dropped
from gptjax.curation.executors.local import LocalProcesses
from gptjax.curation.executors.tasks import Task, run_task
from gptjax.curation.phases.sieve import Sieve
from gptjax.tokenization.merges import MergesTokenizer


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


class WithKillers(LocalProcesses):
    """Processes that end at some documents."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        function = f"{__name__}:with_killers"
        return super().run(
            [Task(task.name, function, task.arguments | {"of": task.function}) for task in tasks]
        )


def with_killers(of: str, **arguments: Any) -> Any:
    """A task whose process ends at a text with "deadly" in it, when it is sifted or encoded."""
    judge, encode = Sieve.judge, MergesTokenizer.encode_batch

    def judged(self: Sieve, document: Document) -> Document | Dropped:
        _end_at([document.text], "deadly to sift")
        return judge(self, document)

    def encoded(self: MergesTokenizer, texts: Sequence[str]) -> Any:
        _end_at(texts, "deadly to encode")
        return encode(self, texts)

    Sieve.judge, MergesTokenizer.encode_batch = judged, encoded
    return run_task(Task("", of, arguments))


def _end_at(texts: Sequence[str], words: str) -> None:
    if any(words in text for text in texts):
        os.kill(os.getpid(), signal.SIGKILL)


def poisonous(document: Document) -> Document | Dropped:
    """A stage that fails at some documents."""
    if "poison" in document.text:
        raise ZeroDivisionError("of poison\nin two lines")
    return document
