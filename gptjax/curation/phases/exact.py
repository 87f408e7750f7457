"""Exact deduplication: of equal texts one stays.

It is the one of the source of the first priority, and among several of those the one with the least
key. Documents are compared in parts, by ranges of the hash of their text, so that a part fits in
memory; the result does not depend on the number of parts.
"""

from pathlib import Path
from typing import Any

import numpy as np

from gptjax.atomic_files import replaced
from gptjax.curation.deduplication.exact import first_of_equal
from gptjax.curation.document import Dropped
from gptjax.curation.executors.tasks import Task
from gptjax.curation.pipeline.work import Run, Work, drop_rows, rows_left

PHASE = "exact_duplicates"
_PART_DOCUMENTS = 8_000_000  # of one part, at 48 bytes each


def drop_equal(
    work: Work, runs: list[Run], priority: list[str], before: tuple[str, ...]
) -> list[dict[str, int]]:
    """Drops documents that have the text of another.

    Args:
      work: what runs tasks.
      runs: of all sources.
      priority: names of all sources; the first of them keeps its documents.
      before: phases that dropped documents.

    Returns:
      For each run how many were dropped, by reason.
    """
    total = sum(len(run.open(work.output).table) for run in runs)
    parts = -(-total // _PART_DOCUMENTS) or 1
    here = {"output": str(work.output), "runs": [(run.name, run.source) for run in runs]}
    work.run(
        f"{PHASE}_find",
        [
            Task(
                f"{part:05}",
                f"{__name__}:find_equal",
                here | {"part": part, "parts": parts, "priority": priority, "before": before},
            )
            for part in range(parts)
        ],
    )
    return work.run(
        PHASE,
        [
            Task(run.name, f"{__name__}:drop_found", here | {"number": number, "parts": parts})
            for number, run in enumerate(runs)
        ],
    )


def find_equal(
    output: str,
    runs: list[tuple[str, str]],
    part: int,
    parts: int,
    priority: list[str],
    before: tuple[str, ...],
) -> int:
    """Finds the documents to drop of which the hash lies in one of `parts` ranges; how many."""
    folder, columns = Path(output), []
    first, stop = ((1 << 64) * bound // parts for bound in (part, part + 1))
    for number, run in enumerate(Run(*each) for each in runs):
        table, rows = run.open(folder).table, rows_left(folder, before, run)
        high = table["digest_high"][rows]
        rows = rows[(high >= np.uint64(first)) & (high <= np.uint64(stop - 1))]
        here = np.zeros((len(rows), 7), np.uint64)
        here[:, 0], here[:, 3], here[:, 4] = priority.index(run.source), number, rows
        for column, field in (
            (1, "key_high"),
            (2, "key_low"),
            (5, "digest_high"),
            (6, "digest_low"),
        ):
            here[:, column] = table[field][rows]
        columns.append(here)
    found = np.concatenate([np.zeros((0, 7), np.uint64), *columns])
    found = found[np.lexsort(found[:, 4::-1].T)]  # by priority, then key
    digests = np.ascontiguousarray(found[:, 5:]).view("S16").reshape(-1)
    first_place = first_of_equal(digests, np.arange(len(found)))
    copies = np.flatnonzero(first_place != np.arange(len(found)))
    drops = np.column_stack([found[copies, 3:5], found[first_place[copies], 3:5]])
    path = folder / "work" / f"{PHASE}_find" / f"{part:05}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path, "wb") as file:
        np.save(file, drops.astype(np.int64))
    return len(drops)


def drop_found(output: str, runs: list[tuple[str, str]], number: int, parts: int) -> dict[str, Any]:
    """Drops what was found in one run."""
    folder, named = Path(output), [Run(*each) for each in runs]
    found = [np.load(folder / "work" / f"{PHASE}_find" / f"{part:05}.npy") for part in range(parts)]
    drops = np.concatenate(found)
    drops = drops[drops[:, 0] == number]
    rows: dict[int, Dropped] = {}
    for _, row, kept_run, kept_row in drops[np.argsort(drops[:, 2], kind="stable")].tolist():
        kept = named[kept_run]
        rows[row] = Dropped(
            "deduplication.equal_document",
            f"the text of {kept.source}: {_ids(folder, kept)[kept_row]}",
        )
    return drop_rows(folder, PHASE, named[number], rows)


_opened: dict[str, list[str]] = {}


def _ids(folder: Path, run: Run) -> list[str]:
    """The ids of a run; those of one run at a time are kept."""
    path = f"{folder}:{run.name}"
    if path not in _opened:
        _opened.clear()
        _opened[path] = run.open(folder).ids
    return _opened[path]
