"""What runs learn from, by the name of the binary that trains them.

task = TRAINED["sft"](config)
task = task_in(workdir, workdir.config())
"""

from collections.abc import Callable, Mapping
from typing import Any

from experiments.alignment.fine_tuning import fine_tuning
from experiments.alignment.preference_optimisation import preference_optimisation
from experiments.alignment.reward_modelling import reward_modelling
from experiments.task_configs import task_of
from experiments.training_run import Task, language_modelling
from experiments.workdir import WorkDirectory
from gptjax.config import ExperimentConfig

TRAINED: dict[str, Callable[[Any], Task]] = {
    "pretrain": language_modelling,
    "sft": fine_tuning,
    "reward_model": reward_modelling,
    "dpo": preference_optimisation,
}


def task_in(workdir: WorkDirectory, config: ExperimentConfig) -> Task:
    """What the run in `workdir` learned from, with its own copy of the tokenizer.

    Args:
      workdir: of a run.
      config: the run's, but that it may compute elsewhere.

    Raises:
      ValueError: the one loop did not train it, or what it reads cannot be had or has changed.
    """
    name = task_of(config)
    if name not in TRAINED:
        raise ValueError(
            f"--workdir: got {workdir.path}, a run of experiments.{name}, expected one of "
            f"experiments.{', '.join(TRAINED)}"
        )
    config.data.tokenizer = str(workdir.path / "tokenizer")
    task = TRAINED[name](config)
    refuse_changed(task.hashes, workdir)
    return task


def refuse_changed(hashes: Mapping[str, str], workdir: WorkDirectory) -> None:
    """Raises ValueError where one of the content `hashes` is not as the run in `workdir` has it."""
    record = workdir.record()
    for name, value in hashes.items():
        if value != record.get(name):
            raise ValueError(
                f"{workdir.path}: {name}: got {value[:12]} as it is now, expected "
                f"{record.get(name, 'none')[:12]}, of what the run was trained on"
            )
