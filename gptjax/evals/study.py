"""Several models on several tasks: figures, and differences on the same items.

    study = Study(tasks, shots=[0, 8])
    for name, model in models:
        study.run(name, model, store)
    write(study, folder)       # evals.json, examples.jsonl, evals.html: see `report`

Models are taken one after another, so that one is in memory at a time.
"""

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gptjax.data.dialogue.records import read_records
from gptjax.evals.answer_store import AnswerStore, Progress
from gptjax.evals.evaluation import Asking, Model, Result
from gptjax.evals.metrics import paired
from gptjax.evals.task import Task


@dataclasses.dataclass
class Study:
    """What is asked, and what came of it.

    Attributes:
      tasks: by name.
      shots: numbers of shots, or "fit".
      seed: of draws.
      dirty: ids of items by task that stand in the training text; {}: nothing is known.
      results: by model, each task and number of shots in their order.
      seconds: that each model took.
    """

    tasks: Mapping[str, Task[Any]]
    shots: Sequence[int | str]
    seed: int = 0
    dirty: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    results: dict[str, list[Result]] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def run(
        self,
        name: str,
        model: Model,
        store: AnswerStore,
        progress: Progress = lambda done, total: None,
    ) -> None:
        """Evaluates one model; the requests of all tasks are asked together.

        Args:
          name: of the model.
          model: see `Asking`.
          store: of its answers.
          progress: see `AnswerStore.ask`.
        """
        began = time.perf_counter()
        pairs = list(itertools.product(self.tasks.values(), self.shots))
        asked = [Asking(model, task, shots=shots, seed=self.seed) for task, shots in pairs]
        requests = itertools.chain.from_iterable(each.requests for each in asked)
        answers = iter(store.ask(model, list(requests), progress))
        self.results[name] = [
            each.result(
                list(itertools.islice(answers, len(each.requests))), self.dirty.get(task.name)
            )
            for each, (task, _) in zip(asked, pairs, strict=True)
        ]
        self.seconds[name] = time.perf_counter() - began

    def rows(self) -> list[dict[str, Any]]:
        """A row for each model, task and number of shots."""
        rows = []
        for name, results in self.results.items():
            for result in results:
                row = {
                    "model": name,
                    "task": result.task,
                    "shots": result.shots,
                    "items": len(result.ids),
                    "cut": result.cut,
                    "figures": {key: dataclasses.asdict(x) for key, x in result.figures.items()},
                    "protocol": result.protocol,
                }
                if result.clean is not None:
                    dirty = self.dirty[result.task]
                    row["clean"] = {
                        "items": sum(id not in dirty for id in result.ids),
                        "figures": {key: dataclasses.asdict(x) for key, x in result.clean.items()},
                    }
                rows.append(row)
        return rows

    def differences(self) -> list[dict[str, Any]]:
        """For each task and two models, how much higher the first one's own figure is."""
        rows = []
        for (first, ones), (second, others) in itertools.combinations(self.results.items(), 2):
            for one, other in zip(ones, others, strict=True):
                metric = self.tasks[one.task].metrics[0]
                difference = paired(metric, one.columns(), other.columns(), self.seed, one.clusters)
                rows.append(
                    {
                        "task": one.task,
                        "shots": [one.shots, other.shots],
                        "figure": metric.name,
                        "first": first,
                        "second": second,
                        **dataclasses.asdict(difference),
                    }
                )
        return rows

    def examples(self) -> Iterator[dict[str, Any]]:
        """A row for each model, task, number of shots and item."""
        for name, results in self.results.items():
            for result in results:
                for id, judged, prompt in zip(
                    result.ids, result.judged, result.prompts, strict=True
                ):
                    yield {
                        "model": name,
                        "task": result.task,
                        "shots": result.shots,
                        "id": id,
                        "prompt": prompt,
                        "given": judged.given,
                        "expected": judged.expected,
                        "margin": judged.margin,
                        "columns": judged.columns,
                    }


def some_items(task: Task[Any], count: int | None, seed: int) -> Task[Any]:
    """A task with `count` of its items, drawn without replacement, in their order; None: all."""
    if count is None or count >= len(task.items):
        return task
    drawn = np.random.default_rng(seed).choice(len(task.items), count, replace=False)
    return dataclasses.replace(task, items=tuple(task.items[i] for i in sorted(drawn.tolist())))


def dirty_items(path: str, tasks: Mapping[str, Task[Any]]) -> dict[str, frozenset[str]]:
    """Reads dirty_items.jsonl of a preparation: ids by task, of the sets that are tasks.

    Raises:
      ValueError: a file of another form, of other sets only, or of ids that no item has.
    """
    found: dict[str, set[str]] = {}
    for set_name, id in read_records(path, path, lambda row: [(row.text("set"), row.text("id"))]):
        found.setdefault(set_name, set()).add(id)
    sets = {name: name.partition("(")[0] for name in tasks}
    shared = {name: frozenset(found[of]) for name, of in sets.items() if of in found}
    for name, ids in shared.items():
        if not ids & {item.id for item in tasks[name].items}:
            raise ValueError(
                f"--contaminated: got ids of {name} such as {min(ids)!r} in {path}, expected some "
                f"of its items, such as {tasks[name].items[0].id!r}"
            )
    if not shared:
        raise ValueError(
            f"--contaminated: got the sets {', '.join(found)} in {path}, expected one at least of "
            f"the tasks {', '.join(tasks)}"
        )
    return shared


def place_of(text: str) -> tuple[str, int | None]:
    """The work directory and the step of WORKDIR or WORKDIR@STEP."""
    path, at, step = text.rpartition("@")
    return (path, int(step)) if at and step.isdecimal() else (text, None)
