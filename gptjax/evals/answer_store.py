"""Answers that a model gave before, kept in one SQLite file, so that none is asked for twice.

    with AnswerStore(path) as store:
        answers = store.ask(model, requests, progress)

An answer is found by the hash of the model and that of the request, so that a run that was killed
goes on where it stopped, and other tasks and shots take what they share with earlier ones.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from gptjax.evals.requests import Answer, Request, as_row, key, of_row

_AT_ONCE = 500  # keys of one look-up; SQLite allows 999 values in a statement

Progress = Callable[[int, int], None]


class Answering(Protocol):
    """What answers requests: `language_model.LanguageModel`, or a stand-in for one."""

    content_hash: str

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yields numbers of requests and their answers, as they are ready."""
        ...


class AnswerStore:
    """Answers by model and request; a context manager."""

    def __init__(self, path: str | Path | None):
        """Opens or makes a file.

        Args:
          path: of the file; None: answers are kept in memory only.

        Raises:
          ValueError: another kind of file, or one that cannot be written.
        """
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            place = ":memory:" if path is None else path
            self._file = sqlite3.connect(place, timeout=60, isolation_level=None)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS answers (model TEXT, request TEXT, answer TEXT, "
                "PRIMARY KEY (model, request)) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            raise ValueError(
                f"{path}: got {error}, expected a file of answers, or room for one"
            ) from error

    def __enter__(self) -> "AnswerStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def ask(
        self,
        model: Answering,
        requests: Sequence[Request],
        progress: Progress = lambda done, total: None,
    ) -> list[Answer]:
        """The answers of a model, those from before and new ones, which are kept.

        Args:
          model: is asked once for each distinct request that it has not answered before.
          requests: in any order; equal ones share an answer.
          progress: told, as answers come, how many of how many distinct requests have one.
        """
        keys = [key(request) for request in requests]
        found = self._kept(model.content_hash, list(dict.fromkeys(keys)))
        asked = {k: request for k, request in zip(keys, requests, strict=True) if k not in found}
        total = len(found) + len(asked)
        progress(len(found), total)
        missing = list(asked)
        for number, answer in model.answers(list(asked.values())) if asked else ():
            found[missing[number]] = answer
            row = (model.content_hash, missing[number], json.dumps(as_row(answer)))
            self._file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)
            progress(len(found), total)
        return [found[k] for k in keys]

    def _kept(self, model: str, keys: Sequence[str]) -> dict[str, Answer]:
        found: dict[str, Answer] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            query = f"SELECT request, answer FROM answers WHERE model = ? AND request IN ({marks})"
            for request, answer in self._file.execute(query, (model, *part)):
                found[request] = of_row(json.loads(answer))
        return found
