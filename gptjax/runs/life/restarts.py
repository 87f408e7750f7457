"""What a run finds out when it starts in its work directory again.

restore_step = checked_restart(workdir, restore_step)
keep_lost_rows(workdir.path)    # where there is no checkpoint to go on from
record_going_back(workdir.path, restore_step)
"""

import itertools
import json
from pathlib import Path

from absl import logging

from gptjax.atomic_files import write_json
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.checkpoints.retention import StepDirectories
from gptjax.training.reporting.metrics import read_metrics

GONE_BACK = "gone_back.json"  # says to which step the run has gone back
ROWS = ("metrics.jsonl", "samples.jsonl")


def checked_restart(workdir: WorkDirectory, restore_step: int | None) -> int | None:
    """The checkpoint that the run is to go back to; None: it goes on from the newest.

    A run goes back once. The same command may therefore be given again, by a person or a cluster;
    a warning then says that the run goes on instead, and how to have it go back once more.

    Raises:
      ValueError: the run has ended, and its checkpoints are gone.
    """
    newest = max(StepDirectories(workdir.path / "checkpoints").steps(), default=None)
    if newest is None and workdir.has_result():
        raise ValueError(
            f"{workdir.given_as}: got {workdir.path}, a run that has ended and has no checkpoint "
            "any more, expected another directory (or no result.json, to train it again)"
        )
    record = workdir.path / GONE_BACK
    if restore_step is None or newest is None or newest < restore_step or not record.exists():
        return restore_step
    if json.loads(record.read_text()) != {"restore_step": restore_step}:
        return restore_step
    logging.warning(
        "--restore_step: the run has gone back to step %d before and goes on from step %d; to go "
        "back once more, remove %s",
        *(restore_step, newest, record),
    )
    return None


def record_going_back(path: Path, restore_step: int) -> None:
    """Writes down that the run in `path` has gone back: later checkpoints are gone by now."""
    write_json(path / GONE_BACK, {"restore_step": restore_step})


def keep_lost_rows(path: Path) -> None:
    """Gives another name to the rows of a run that has to start at step 0 again; says so."""
    metrics = path / ROWS[0]
    rows = read_metrics(metrics) if metrics.exists() else []
    if not rows:
        return
    number = next(n for n in itertools.count(1) if not _numbered(metrics, n).exists())
    for name in ROWS:
        if (path / name).exists():
            (path / name).rename(_numbered(path / name, number))
    (path / GONE_BACK).unlink(missing_ok=True)
    logging.warning(
        "%s has no checkpoint to go on from: the run starts at step 0 again; its rows up to step "
        "%d are kept in %s",
        *(path, rows[-1]["step"], _numbered(metrics, number)),
    )


def _numbered(file: Path, number: int) -> Path:
    return file.with_suffix(f".{number}{file.suffix}")
