"""Figures of evals of a run, for studies that train many.

judge = of_tasks(load_tasks("lambada,piqa", data), shots=0)
judge(WorkDirectory("runs/lm"))["lambada accuracy"]
"""

from collections.abc import Callable, Iterable
from typing import Any

from gptjax.evals.answer_store import AnswerStore
from gptjax.evals.evaluation import evaluate
from gptjax.evals.models.of_runs import of_run
from gptjax.evals.task import Task
from gptjax.runs.workdir import WorkDirectory


def of_tasks(
    tasks: Iterable[Task[Any]], shots: int | str = 0
) -> Callable[[WorkDirectory], dict[str, float]]:
    """A function of a run that has ended: the own figure of each task, by "TASK FIGURE"."""
    kept = list(tasks)

    def judge(run: WorkDirectory) -> dict[str, float]:
        if not kept:
            return {}
        model, figures = of_run(run), {}
        with AnswerStore(run.path / "evals" / "answers.sqlite") as store:
            for task in kept:
                result = evaluate(model, task, store, shots=shots)
                name, figure = next(iter(result.figures.items()))
                figures[f"{task.name} {name}"] = figure.value
        return figures

    return judge
