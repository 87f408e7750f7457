"""The log of an eval, in OpenAI's event format: a first line, events, and the final report.

    with Log(Path("logs/run.jsonl"), spec, "match") as log:
        log.add("test-match.s1.0", [Event("match", {"correct": True})])
        log.report({"accuracy": 1.0})

    {"spec": {"completion_fns": [...], "eval_name": ..., "run_config": {...}, "run_id": ..., ...}}
    {"run_id": ..., "event_id": 0, "sample_id": "test-match.s1.0", "type": "match", "data": {...},
     "created_by": "", "created_at": ...}
    {"final_report": {"accuracy": 1.0}, "run_id": ...}

A log that is there already goes on: samples that have ended keep their events, the others' are
dropped. Differs from the original: the events of a sample stand together, and the report is last.

Source: evals/record.py and evals/base.py of openai/evals 3.0.1.
"""

import base64
import dataclasses
import datetime
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from absl import logging

from gptjax.atomic_files import replaced
from gptjax.evals.openai_evals.classes.base import Event
from gptjax.locks import open_locked

_FREE = ("command", "initial_settings", "max_samples")  # of run_config: what may differ later


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """What a log is of.

    Attributes:
      completion_fns: names of the completion functions.
      eval_name: full name of the eval.
      run_config: all that its events depend on, and what the format has besides.
      created_by: the user.
      run_id: UTC time and letters by chance.
    """

    completion_fns: list[str]
    eval_name: str
    run_config: Mapping[str, Any]
    created_by: str
    run_id: str = dataclasses.field(default_factory=lambda: new_id())
    created_at: str = dataclasses.field(default_factory=lambda: _now())

    @property
    def base_eval(self) -> str:
        """The first part of the name."""
        return self.eval_name.split(".")[0]

    @property
    def split(self) -> str:
        """The second part of the name."""
        return self.eval_name.split(".")[1]

    def row(self) -> dict[str, Any]:
        """The fields, in the format's order."""
        names = ("completion_fns", "eval_name", "base_eval", "split", "run_config")
        names += ("created_by", "run_id", "created_at")
        return {name: getattr(self, name) for name in names}


class Log:
    """A log that is written, and locked, until it is closed.

    Attributes:
      ended: the events of samples that have ended, by sample id, in order.
    """

    def __init__(self, path: Path | None, spec: RunSpec, last: str, again: bool = False):
        """Opens a log.

        Args:
          path: of the file, in a folder that is made if it is missing; None: nothing is written.
          spec: of a new log; one that goes on keeps its own, with its run id.
          last: type of the event that ends a sample.
          again: whether a log that is there is begun anew.

        Raises:
          ValueError: the log is of another eval, or another process is writing it.
        """
        self.spec, self._last, self._file = spec, last, None
        self.ended: dict[str, list[Event]] = {}
        self._count = 0
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = open_locked(f"{path}.lock")
        except BlockingIOError as error:
            raise ValueError(f"{path}: another process is writing this log") from error
        self._path = path
        try:
            self._begin(again)
        except BaseException:
            self._unlock()
            raise

    def _begin(self, again: bool) -> None:
        rows = [] if again or not self._path.exists() else rows_of(self._path)
        if rows:
            self._take_over(rows)
        with replaced(self._path) as file:
            file.write(_line({"spec": self.spec.row()}))
            for sample_id, events in self.ended.items():
                file.writelines(map(_line, self._rows_of(sample_id, events)))
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed by __exit__)

    def _take_over(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Reads what an earlier process has written."""
        spec = rows[0].get("spec")
        if not isinstance(spec, dict) or not isinstance(spec.get("run_config"), dict):
            raise ValueError(f"{self._path}: got no log of an eval, expected one, or no file")
        for name, ours in _identity(self.spec.row()).items():
            theirs = _identity(spec).get(name)
            if theirs != ours:
                raise ValueError(
                    f"{self._path}: got the log of another run: its {name} is {_short(theirs)}, "
                    f"expected {_short(ours)}, or another --record_path"
                )
        self.spec = dataclasses.replace(
            self.spec, run_id=spec["run_id"], created_at=spec["created_at"]
        )
        found: dict[str, list[Event]] = defaultdict(list)
        for row in rows[1:]:
            if "sample_id" in row:
                found[row["sample_id"]].append(Event(row["type"], row["data"]))
        self.ended = {
            sample_id: events
            for sample_id, events in found.items()
            if events[-1].type == self._last
        }

    def add(self, sample_id: str, events: Sequence[Event]) -> None:
        """Writes the events of a sample, all at once."""
        if events and events[-1].type == self._last:
            self.ended[sample_id] = list(events)
        self._write(*self._rows_of(sample_id, events))

    def report(self, final_report: dict[str, Any]) -> None:
        """Writes the final report."""
        self._write({"final_report": final_report, "run_id": self.spec.run_id})

    def _write(self, *rows: Mapping[str, Any]) -> None:
        lines = "".join(map(_line, rows))
        logging.debug("%s", lines)
        if self._file is not None:
            self._file.write(lines)
            self._file.flush()

    def _rows_of(self, sample_id: str, events: Sequence[Event]) -> list[dict[str, Any]]:
        rows = []
        for event in events:
            rows.append(
                {
                    "run_id": self.spec.run_id,
                    "event_id": self._count,
                    "sample_id": sample_id,
                    "type": event.type,
                    "data": event.data,
                    "created_by": self.spec.created_by,
                    "created_at": _now(),
                }
            )
            self._count += 1
        return rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._unlock()

    def _unlock(self) -> None:
        os.unlink(f"{self._path}.lock")
        os.close(self._lock)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; of a line that was cut off, and those behind it, nothing is kept."""
    rows = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not isinstance(row, dict):
                break
            rows.append(row)
    return rows


def _identity(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What events depend on, as JSON has it."""
    fields = {name: spec.get(name) for name in ("eval_name", "completion_fns")}
    config = {name: value for name, value in spec["run_config"].items() if name not in _FREE}
    if isinstance(config.get("eval_spec"), dict):
        config["eval_spec"] = {**config["eval_spec"], "registry_path": None}  # it may be moved
    return json.loads(_line({**fields, **config}))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 100 else f"{text[:100]}..."


def _line(row: Any) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _now() -> str:
    return str(datetime.datetime.now(datetime.UTC))


def new_id() -> str:
    """A new run id: UTC time, and letters by chance."""
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%y%m%d%H%M%S") + base64.b32encode(os.urandom(5)).decode()
