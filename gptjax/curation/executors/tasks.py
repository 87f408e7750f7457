"""Tasks: calls of functions by name with plain arguments, which any process can make.

run_task(Task("books-00003", "gptjax.curation.pipeline.reading:read_part", {"part": 3}))
"""

import dataclasses
import importlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class Task:
    """A piece of work whose result depends on its arguments and on files that do not change.

    Attributes:
      name: unique among the tasks that are run with it; also a name of a file.
      function: "module:function"; it writes files whole or not at all.
      arguments: of the function, by name; what pickle takes.
    """

    name: str
    function: str
    arguments: dict[str, Any]


class Executor(Protocol):
    """What runs tasks, in any order and any number at a time."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        """Yields the name and the result of each task as it ends.

        Raises:
          ValueError, OSError: a task raised it, or its process died at every attempt.
          RuntimeError: a task failed in another way.
        """
        ...

    def close(self) -> None:
        """Ends the processes."""
        ...


class InProcess:
    """Runs one task after another in this process."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        for task in tasks:
            yield task.name, run_task(task)

    def close(self) -> None:
        pass


def run_task(task: Task) -> Any:
    """Calls the function of a task."""
    module, _, name = task.function.partition(":")
    return getattr(importlib.import_module(module), name)(**task.arguments)


def told(error: Exception) -> Exception:
    """An error of a task as another process can be told: the same kind where it is a user's."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    if isinstance(error, (ValueError, OSError)):
        return (OSError if isinstance(error, OSError) else ValueError)(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")
