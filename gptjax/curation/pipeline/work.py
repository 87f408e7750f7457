"""The folder of a preparation: tasks that have ended, documents that were dropped, and why.

    work = Work(Path("DIR"), executor, progress)
    results = work.run("read", tasks)        # what ended in an earlier life is not done again

Everything that a task needs lies in files below `work/`, so that a task may run in any process on
any machine that sees the folder. The result of a task is written once it has ended, and ends it.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gptjax.atomic_files import replaced, write_json, write_json_lines
from gptjax.curation.document import Dropped
from gptjax.curation.executors.tasks import Executor, Task
from gptjax.curation.pipeline.documents import DocumentRun

EXAMPLES = 5  # of each reason and part, whose text is kept beside the reason
EXCERPT = 400  # characters of it


class ProgressBar(Protocol):
    """What shows people how far a preparation is."""

    def phase(self, name: str, tasks: int, done: int) -> None:
        """A phase begins, of whose tasks some were done in an earlier life."""
        ...

    def advance(self) -> None:
        """A task has ended."""
        ...


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of documents, and the source that they are of."""

    name: str
    source: str

    def open(self, output: Path) -> DocumentRun:
        """The run in the folder of a preparation."""
        return DocumentRun(runs_folder(output), self.name)


def runs_folder(output: Path) -> Path:
    """Where runs of documents lie."""
    return output / "work" / "documents"


def task_file(output: Path, phase: str, name: str) -> Path:
    """A file of a task of a phase, beside its result."""
    folder = output / "work" / phase
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


class Work:
    """Runs the tasks of phases, each once."""

    def __init__(self, output: Path, executor: Executor, progress: ProgressBar):
        """`output`: the folder of the preparation."""
        self.output = output
        self._executor = executor
        self._progress = progress

    def run(self, phase: str, tasks: Sequence[Task]) -> list[Any]:
        """Runs tasks that have not ended yet.

        Args:
          phase: a name for all of them.
          tasks: of the phase.

        Returns:
          Their results, as JSON has them, in the order of the tasks.

        Raises:
          ValueError, OSError, RuntimeError: of a task.
        """
        folder = self.output / "work" / phase
        folder.mkdir(parents=True, exist_ok=True)
        ended = {task.name for task in tasks if (folder / f"{task.name}.json").exists()}
        self._progress.phase(phase, len(tasks), len(ended))
        left = [task for task in tasks if task.name not in ended]
        for name, result in self._executor.run(left):
            write_json(folder / f"{name}.json", result)
            self._progress.advance()
        return [json.loads((folder / f"{task.name}.json").read_text()) for task in tasks]


def drop_rows(output: Path, phase: str, run: Run, rows: dict[int, Dropped]) -> dict[str, int]:
    """Drops documents of a run: no later phase reads them.

    Args:
      output: the folder of the preparation.
      phase: which drops them.
      run: that they are in.
      rows: of the run, and why each is dropped.

    Returns:
      How many were dropped, by reason.
    """
    folder = output / "work" / f"dropped_{phase}"
    folder.mkdir(parents=True, exist_ok=True)
    with replaced(folder / f"{run.name}.npy", "wb") as file:
        np.save(file, np.array(sorted(rows), np.int64))
    opened, log = run.open(output), DropLog(output, phase, run.name)
    texts = opened.documents(run.source, sorted(rows))
    for row, document in zip(sorted(rows), texts, strict=True):
        log.add(document.source, document.id, rows[row], document.text)
    return log.finish()


def rows_left(output: Path, phases: Iterable[str], run: Run) -> np.ndarray:
    """Rows of a run that none of `phases` has dropped, ascending, int64."""
    left = np.ones(len(run.open(output).table), bool)
    for phase in phases:
        path = output / "work" / f"dropped_{phase}" / f"{run.name}.npy"
        if path.exists():
            left[np.load(path)] = False
    return np.flatnonzero(left)


class DropLog:
    """Lines that say of each dropped document why, and of some what they said."""

    def __init__(self, output: Path, phase: str, part: str):
        """`part`: name of what was gone through."""
        self._path = output / "dropped" / f"{phase}-{part}.jsonl"
        self._rows: list[dict[str, Any]] = []
        self._counts: dict[str, int] = {}

    def add(self, source: str, id: str, dropped: Dropped, text: str) -> None:
        """Notes a document."""
        row = {"source": source, "id": id, "reason": dropped.reason, "detail": dropped.detail}
        count = self._counts[dropped.reason] = self._counts.get(dropped.reason, 0) + 1
        if count <= EXAMPLES:
            row["text"] = text[:EXCERPT].encode(errors="replace").decode()
        self._rows.append(row)

    def finish(self) -> dict[str, int]:
        """Writes the lines; returns how many documents there are, by reason."""
        if self._rows:
            write_json_lines(self._path, self._rows)
        return dict(sorted(self._counts.items()))


def dropped_rows(output: Path) -> Iterator[dict[str, Any]]:
    """What the logs of a preparation say, in the order of their names."""
    for path in sorted((output / "dropped").glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)
