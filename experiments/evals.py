r"""Evaluates language models on tasks of papers, with intervals and examples.

    python -m experiments.evals --workdir=runs/lm --data=DIR --tasks=lambada,gpt3_arithmetic \
        --shots=0,1,8
    python -m experiments.evals --workdir=runs/a,runs/b@500 --data=DIR --tasks=piqa --output=DIR
    python -m experiments.evals --list

Each figure has its 95% interval; two models are compared on the same items. --output, which is
WORKDIR/evals of the first model by default, gets evals.json, examples.jsonl (a row an item) and
evals.html. Answers are kept in WORKDIR/evals/answers.sqlite, so that a command that was stopped
goes on where it was. A task may have options: "lambada(stop_words=true)"; --list has them all.
"""

import functools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.flags.command_line import given, run
from experiments.flags.paths import define_path, define_paths
from gptjax.evals.answer_store import AnswerStore
from gptjax.evals.screen import Screen
from gptjax.runs.caches import enable_compilation_cache

_WORKDIR = define_paths(
    "workdir", [], "Work directories of language models: WORKDIR or WORKDIR@STEP. It must be given."
)
_TASKS = flags.DEFINE_string(
    "tasks", None, "Tasks with commas between: NAME or NAME(OPTION=VALUE,...). It must be given."
)
_SHOTS = flags.DEFINE_list(
    "shots", ["0"], 'Examples before each item; "fit": as many as the context holds.'
)
_DATA = define_path("data", None, "Folder with the files of the tasks, as --list names them.")
_LIMIT = flags.DEFINE_integer(
    "limit", None, "Items of each task, drawn by --seed. By default all.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of draws of shots, items and resamples.", lower_bound=0)
_BATCH = flags.DEFINE_integer(
    "batch_size", 32, "Texts that are scored, or written, at the same time.", lower_bound=1
)
_OUTPUT = define_path(
    "output", None, "Folder of the results. By default evals in the first work directory."
)
_CONTAMINATED = define_path(
    "contaminated",
    None,
    "dirty_items.jsonl of a preparation (--config.decontamination): the figures of clean items are "
    "given as well.",
)
_ALLOW_CODE = flags.DEFINE_boolean(
    "allow_code", False, "Lets tasks run what a model writes, in a sandbox: see humaneval."
)
_LIST = flags.DEFINE_boolean("list", False, "Lists the tasks, their options and their files.")


def main(argv: Sequence[str]) -> None:
    """Prints the table and writes the files."""
    from gptjax.evals.evaluation import number_of_shots
    from gptjax.evals.models.of_runs import of_run
    from gptjax.evals.report import lines, write
    from gptjax.evals.study import Study, dirty_items, place_of, some_items
    from gptjax.evals.tasks import load_tasks
    from gptjax.runs.workdir import WorkDirectory

    del argv
    if _LIST.value:
        print("\n".join(_listed()))
        return
    places = [place_of(text) for text in given(_WORKDIR, "work directories, commas between")]
    shots = [number_of_shots(text) for text in _SHOTS.value]
    tasks = {}
    specs = given(_TASKS, "tasks, commas between")
    for task in load_tasks(specs, _DATA.value, allow_code=_ALLOW_CODE.value):
        if task.name in tasks:
            raise ValueError(f"--tasks: got {task.name} twice, expected it once")
        tasks[task.name] = task
    dirty = {} if _CONTAMINATED.value is None else dirty_items(_CONTAMINATED.value, tasks)
    tasks = {name: some_items(task, _LIMIT.value, _SEED.value) for name, task in tasks.items()}
    study = Study(tasks, shots, _SEED.value, dirty)
    enable_compilation_cache()
    for path, step in places:  # so that none is refused after others were evaluated
        WorkDirectory(path).model()
        WorkDirectory(path).resolve_step(step)
    for path, step in places:
        workdir = WorkDirectory(path)
        model = of_run(workdir, step, batch_size=_BATCH.value)
        name = path if step is None else f"{path}@{step}"
        with AnswerStore(workdir.path / "evals" / "answers.sqlite") as store, Screen() as screen:
            study.run(name, model, store, functools.partial(screen.say, name))
    output = Path(_OUTPUT.value or Path(places[0][0]) / "evals")
    write(study, output, f"python -m experiments.evals {shlex.join(sys.argv[1:])}")
    print("\n".join([*lines(study), "", f"examples and pictures: {output / 'evals.html'}"]))


def _listed() -> Sequence[str]:
    from gptjax.evals.registry import GROUPS, TASKS

    found = []
    for name in TASKS:
        entry = TASKS.get(name)
        found.append(f"{name}: {entry.meaning}")
        found.append(f"    options: {', '.join(entry.options()) or 'none'}")
        if entry.file:
            found.append(f"    file: {entry.file} ({entry.get})")
    return [*found, *(f"{name}: {', '.join(names)}" for name, names in GROUPS.items())]


if __name__ == "__main__":
    run(main)
