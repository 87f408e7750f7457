"""Tasks by name, with options: what `--tasks` of the binary means.

    for task in load_tasks("lambada,arithmetic(digits=3,count=500)", data="data"):
        ...

A task is one registered function that reads its files:

    @task("piqa", file="piqa/valid.jsonl", get="valid.jsonl and valid-labels.lst of PIQA")
    def piqa(source: Source, *, normalisation: str = "token") -> Choices: ...

Its keywords are the options that a user may give in brackets. All tasks of files have path=FILE and
train=FILE besides, for examples, and for a training split, that lie elsewhere.
"""

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gptjax.data.dialogue.records import Row, read_records
from gptjax.evals.rows import table_rows
from gptjax.evals.task import Task
from gptjax.registry import Registry, unknown_name

Item = TypeVar("Item")
Read = Callable[[Row], Iterable[Item]]

ITSELF = "itself"  # in place of a training split's file: shots are other examples of the task
_SPEC = re.compile(r"(?P<name>[\w.-]+)(?:\((?P<options>[^()]*)\))?")
_CONVERTED: Mapping[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: {"true": True, "false": False}[text.lower()],
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a task reads.

    Attributes:
      name: the task as the user wrote it.
      path: file of its examples, or a folder; "" for tasks that are made.
      train: file of the training split; None: there is none.
      itself: whether shots are other examples of the task.
    """

    name: str
    path: str = ""
    train: str | None = None
    itself: bool = False

    def json(self, read: Read[Item]) -> dict[str, Any]:
        """`items` and `training`, from JSON lines."""

        def of(path: str) -> tuple[Item, ...]:
            return read_records(self.name, path, read).items

        return self._splits(of)

    def table(
        self, read: Read[Item], delimiter: str, fields: Sequence[str] = (), more: bool = False
    ) -> dict[str, Any]:
        """`items` and `training`, from tables; see `rows.table_rows`."""

        def of(path: str) -> tuple[Item, ...]:
            rows = table_rows(path, delimiter, fields, more)
            return tuple(item for row in rows for item in read(row))

        return self._splits(of)

    def _splits(self, of: Callable[[str], tuple[Any, ...]]) -> dict[str, Any]:
        items = of(self.path)
        if not items:
            raise ValueError(f"{self.name}: got no example in {self.path}, expected one or more")
        if self.itself:
            return {"name": self.name, "items": items, "training": items}
        training = of(self.train) if self.train is not None else ()
        return {"name": self.name, "items": items, "training": training}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered task.

    Attributes:
      load: the function.
      file: of its examples, below the folder of data; "": it reads none.
      train_file: of its training split, likewise; `ITSELF`; or "": none is known.
      get: what to get where the file is missing.
      runs_code: whether what a model writes is run as a program.
    """

    load: Callable[..., Task[Any]]
    file: str
    train_file: str
    get: str
    runs_code: bool = False

    @property
    def meaning(self) -> str:
        """What the task is, in a line."""
        return (inspect.getdoc(self.load) or "").splitlines()[0]

    def options(self) -> dict[str, Any]:
        """The types of the options by name."""
        hints = typing.get_type_hints(self.load)
        parameters = inspect.signature(self.load).parameters.values()
        own = {p.name: hints[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}
        return own | ({"path": str, "train": str} if self.file else {})


TASKS: Registry[Entry] = Registry("task")
GROUPS: dict[str, tuple[str, ...]] = {}


def task(
    name: str, *, file: str = "", train_file: str = "", get: str = "", runs_code: bool = False
) -> Callable[[Callable[..., Task[Any]]], Callable[..., Task[Any]]]:
    """A decorator that registers a function `(source, *, options) -> Task`; see `Entry`."""

    def register(load: Callable[..., Task[Any]]) -> Callable[..., Task[Any]]:
        TASKS.register(name)(Entry(load, file, train_file, get, runs_code))
        return load

    return register


def load_tasks(specs: str, data: str | None, *, allow_code: bool = False) -> Iterator[Task[Any]]:
    """The tasks of a list.

    Args:
      specs: NAME or NAME(OPTION=VALUE,...), with commas between; a group stands for its tasks.
      data: folder that has the files of the tasks, as their entries name them.
      allow_code: whether tasks may run what a model writes.

    Raises:
      ValueError: an unknown task or option, a file that is missing or has another format, or a task
        that may not run what a model writes.
    """
    for spec, name, options in _parsed(specs):
        entry = TASKS.get(name)
        if entry.runs_code and not allow_code:
            raise ValueError(
                f"--tasks: got {spec}, which runs programs that the model writes, expected "
                "--allow_code with it, on a machine where that may be done"
            )
        yield _load(entry, spec, options, data)


def _parsed(specs: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    for spec in re.split(r",(?![^()]*\))", specs):
        found = _SPEC.fullmatch(spec.strip())
        if found is None:
            raise ValueError(
                f"--tasks: got {spec.strip()!r}, expected NAME or NAME(OPTION=VALUE,...)"
            )
        name, given = found["name"], found["options"]
        if name not in TASKS and name not in GROUPS:
            raise unknown_name("task", name, [*GROUPS, *TASKS])
        options = {}
        for part in filter(None, (given or "").split(",")):
            key, equals, value = part.partition("=")
            if not equals:
                raise ValueError(
                    f"--tasks: got {part!r} in {spec.strip()!r}, expected OPTION=VALUE"
                )
            options[key.strip()] = value.strip()
        for each in GROUPS.get(name, (name,)):
            options_of = f"({given})" if given else ""
            yield f"{each}{options_of}", each, options


def _load(entry: Entry, spec: str, given: Mapping[str, str], data: str | None) -> Task[Any]:
    known = entry.options()
    options: dict[str, Any] = {}
    for key, text in given.items():
        if key not in known:
            raise unknown_name(f"option of {spec}", key, known)
        options[key] = _converted(spec, key, text, known[key])
    source = Source(spec)
    if entry.file:
        path = options.pop("path", None) or _found(entry, spec, data)
        train = options.pop("train", None) or _training(entry, path, data)
        for each in filter(None, (path, train)):
            if not Path(each).expanduser().exists():
                raise ValueError(f"{spec}: got no file {each}, expected {entry.get}")
        itself = entry.train_file == ITSELF and train is None
        source = Source(spec, path, train, itself)
    return entry.load(source, **options)


def _converted(spec: str, key: str, text: str, kind: Any) -> Any:
    kinds = [each for each in (typing.get_args(kind) or (kind,)) if each is not type(None)]
    try:
        return _CONVERTED[kinds[0]](text)
    except (ValueError, KeyError):
        expected = {"bool": "true or false", "int": "a whole number"}.get(
            kinds[0].__name__, f"a {kinds[0].__name__}"
        )
        raise ValueError(f"{spec}: {key}: got {text!r}, expected {expected}") from None


def _found(entry: Entry, spec: str, data: str | None) -> str:
    if data is None:
        raise ValueError(
            f"--data: got none with {spec}, expected a folder with {entry.file}: {entry.get}"
        )
    path = Path(data).expanduser() / entry.file
    if not path.exists():
        raise ValueError(f"{spec}: got no file {path}, expected {entry.get}")
    return str(path)


def _training(entry: Entry, path: str, data: str | None) -> str | None:
    """The file of the training split, where it lies as its entry says, or beside the examples."""
    if entry.train_file in ("", ITSELF):
        return None
    beside = Path(path).expanduser().with_name(Path(entry.train_file).name)
    there = [beside] if data is None else [Path(data).expanduser() / entry.train_file, beside]
    return next((str(each) for each in there if each.exists()), None)


@functools.cache
def described() -> dict[str, str]:
    """What each task is, in a line."""
    return {name: TASKS.get(name).meaning for name in TASKS}
