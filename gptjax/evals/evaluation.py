"""Evaluates a language model on a task: asks, judges, and says how sure the figures are.

with AnswerStore(None) as store:
    result = evaluate(of_run(workdir), task, store, shots=8)
result.figures["accuracy"].value, result.figures["accuracy"].low
"""

import dataclasses
import itertools
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np

from gptjax.evals.answer_store import Answering, AnswerStore, Progress
from gptjax.evals.metrics import Columns, Figure
from gptjax.evals.requests import Answer
from gptjax.evals.shots import Prompts, Reader, checked, most_that_fit
from gptjax.evals.task import Judged, Task

FIT = "fit"  # in place of a number of shots: as many as the context allows


class Model(Answering, Reader, Protocol):
    """What is evaluated: answers requests, and says which fit."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a model did on a task.

    Attributes:
      task: its name.
      shots: K.
      figures: by name, with intervals; the first is the task's own.
      clean: the figures of the items that training text does not hold; None: it is not known.
      ids: of the items.
      clusters: of the items, as of `Task.cluster`.
      judged: what each item gave.
      prompts: the end of what the model read before each answer.
      cut: items whose context was cut to fit.
      protocol: how it was measured, in words.
    """

    task: str
    shots: int
    figures: dict[str, Figure]
    clean: dict[str, Figure] | None
    ids: tuple[str, ...]
    clusters: tuple[Hashable, ...]
    judged: tuple[Judged, ...]
    prompts: tuple[str, ...]
    cut: int
    protocol: str

    def columns(self) -> Columns:
        """The columns of all items."""
        return columns_of(self.judged)


class Asking:
    """A task as it is put to one model: its requests, and what their answers come to.

    Attributes:
      shots: K.
      requests: of all items.
    """

    def __init__(self, model: Model, task: Task[Any], *, shots: int | str = 0, seed: int = 0):
        """Draws shots, as many as `shots` says, or as fit.

        Args:
          model: a `LanguageModel`, or a stand-in.
          task: what it is asked.
          shots: K, or "fit": as many as the context and the training split allow.
          seed: of the draws of shots, and of resamples.

        Raises:
          ValueError: shots that the task does not have or the context does not hold; pictures,
            with a model of text alone.
        """
        prompts = Prompts(task, seed)
        if isinstance(shots, str):
            most = prompts.available()
            shots = most_that_fit(prompts, model, most)
        else:
            checked(prompts, shots, model)
        self.shots, self._task, self._seed = shots, task, seed
        self._asked = [prompts.requests(item, shots) for item in task.items]
        self.requests = list(itertools.chain.from_iterable(self._asked))
        try:
            model.check(self.requests)
        except ValueError as error:
            raise ValueError(f"{task.name}: {error}") from error

    def result(self, answers: Sequence[Answer], dirty: frozenset[str] | None = None) -> Result:
        """The result of the answers to `requests`.

        Args:
          answers: in the order of the requests.
          dirty: ids of items that stand in the training text; None: it is not known.
        """
        task, remaining = self._task, iter(answers)
        given = [list(itertools.islice(remaining, len(requests))) for requests in self._asked]
        judged = task.judge_all(given)
        cut = sum(any(answer.cut for answer in each) for each in given)
        ids = tuple(item.id for item in task.items)
        clusters = tuple(task.cluster(item) for item in task.items)
        clean = [number for number, id in enumerate(ids) if id not in (dirty or ())]
        of_clean = [judged[number] for number in clean], [clusters[number] for number in clean]
        return Result(
            task.name,
            self.shots,
            _figures(task, judged, clusters, self._seed),
            None if dirty is None or not clean else _figures(task, *of_clean, self._seed),
            ids,
            clusters,
            tuple(judged),
            tuple(_shown(requests[0]) for requests in self._asked),
            cut,
            _protocol(task, self.shots, self._seed),
        )


def evaluate(
    model: Model,
    task: Task[Any],
    store: AnswerStore,
    *,
    shots: int | str = 0,
    seed: int = 0,
    dirty: frozenset[str] | None = None,
    progress: Progress = lambda done, total: None,
) -> Result:
    """Evaluates a model on one task; arguments are those of `Asking` and `AnswerStore.ask`."""
    asking = Asking(model, task, shots=shots, seed=seed)
    return asking.result(store.ask(model, asking.requests, progress), dirty)


def number_of_shots(text: str) -> int | str:
    """A number of shots, or "fit", as a user writes it; ValueError for anything else."""
    if text != FIT and not text.isdecimal():
        raise ValueError(f"--shots: got {text!r}, expected 0 or more, or {FIT}")
    return FIT if text == FIT else int(text)


def columns_of(judged: Sequence[Judged]) -> Columns:
    """Columns [N] of what N items gave."""
    return {name: np.array([one.columns[name] for one in judged]) for name in judged[0].columns}


def _figures(
    task: Task[Any], judged: Sequence[Judged], clusters: Sequence[Hashable], seed: int
) -> dict[str, Figure]:
    columns = columns_of(judged)
    return {metric.name: metric.figure(columns, seed, clusters) for metric in task.metrics}


def _shown(request: Any) -> str:
    """The text of a request that comes before the answer."""
    for field in ("context", "prompt", "text"):
        if hasattr(request, field):
            return getattr(request, field)
    raise AssertionError(request)


def _protocol(task: Task[Any], shots: int, seed: int) -> str:
    if not shots:
        return f"Zero-shot. {task.protocol}"
    examples = "one example" if shots == 1 else f"{shots} examples"
    own = {item.id for item in task.items} & {item.id for item in task.training}
    split = "set, others than the item," if own else "training split,"
    return f"{examples} of the {split} drawn for each item (seed {seed}). {task.protocol}"
