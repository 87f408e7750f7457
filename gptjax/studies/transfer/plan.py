"""Runs of a transfer study: each model's pretraining, then every system on every task.

runs = plan(study, Path("runs/beside"), "tokens", seed=0)
for run in runs:
    run.train()
"""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

from gptjax.config import ExperimentConfig, resolve
from gptjax.runs.initial.inherited import OF_PARAMETERS, inherit
from gptjax.runs.kind import kind_of
from gptjax.runs.learner import Ended
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import fields
from gptjax.studies import choices
from gptjax.studies.changes import Changes
from gptjax.studies.equal_budget.plan import equal_steps, flops_per_token, of_length
from gptjax.studies.transfer.config import System, Transfer
from gptjax.tasks.classification.labelled import labelled_examples

# The cost of pretraining on one token of the batch schedule, under each budget.
EQUAL: dict[str, Callable[[ExperimentConfig], float]]
EQUAL = dict(zip(choices.EQUAL, (lambda config: 1.0, flops_per_token), strict=True))


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a study.

    Attributes:
      seed: of the whole chain.
      name: of the pretrained model or of the system.
      task: its name; None: pretraining.
      workdir: where it lives.
      config: makes its configuration, resolved; what it starts from must have ended.
    """

    seed: int
    name: str
    task: str | None
    workdir: WorkDirectory
    config: Callable[[], ExperimentConfig]

    def train(self) -> Ended:
        """Trains to the end; a run that has ended is only checked to be this one."""
        return train(self.name, self.config(), self.workdir)


def plan(study: Transfer, root: Path, budget: str, seed: int) -> list[Run]:
    """The runs of one seed, in order, each in a directory of its own below `root`.

    Args:
      study: its configurations are not resolved.
      root: of the study.
      budget: a name in EQUAL; the first pretraining decides how much of it each has.
      seed: of the pretraining and of all that follows.
    """
    below = root / f"seed{seed}"
    pretrained = pretraining_configs(study, budget, seed)
    at = {name: WorkDirectory(str(below / "pretrain" / _folder(name))) for name in pretrained}
    runs = [
        Run(seed, name, None, at[name], lambda config=config: config)
        for name, config in pretrained.items()
    ]
    for task in study.tasks:
        for name, system in study.systems.items():
            workdir = WorkDirectory(str(below / _folder(task.name) / _folder(name)))
            source = at[system.pretraining]
            model = pretrained[system.pretraining]

            def config(system=system, task=task, source=source, model=model) -> ExperimentConfig:
                return tuning_config(system, task, source, model, seed)

            runs.append(Run(seed, name, task.name, workdir, config))
    return runs


def check_tasks(study: Transfer) -> None:
    """Reads every task, so that what is wrong with one is said before anything is trained.

    Raises:
      ValueError: a task that does not fit a recipe, or whose data cannot be read.
    """
    for task in study.tasks:
        for system in study.systems.values():
            config = task.of(system.tuning)
            if not config.task.random_start:
                config.checkpoint.init_from = system.pretraining  # which is not there yet
            config = resolve(config)
            kind_of(config).check(config)
        labelled_examples(resolve(task.of(next(iter(study.systems.values())).tuning)))


def pretraining_configs(study: Transfer, budget: str, seed: int) -> dict[str, ExperimentConfig]:
    """The configurations of the pretraining, resolved, by name; all spend what the first does."""
    named = {name: copy.deepcopy(config) for name, config in study.pretraining.items()}
    for config in named.values():
        inherit(config, {"data.tokenizer"})  # the size of the vocabulary
    resolved = [resolve(config) for config in named.values()]
    for config in resolved:
        kind_of(config).check(config)
    steps = equal_steps(resolved, map(EQUAL[budget], resolved))
    return {
        name: of_length(config, length, seed)
        for (name, config), length in zip(named.items(), steps, strict=True)
    }


def tuning_config(
    system: System, task: Changes, source: WorkDirectory, pretrained: ExperimentConfig, seed: int
) -> ExperimentConfig:
    """The configuration of a system on a task, resolved.

    Args:
      system: its recipe.
      task: what it learns.
      source: the ended run of its pretraining.
      pretrained: the configuration of that run.
      seed: of the run.
    """
    config = task.of(system.tuning)
    config.training.seed = seed
    given = {*task.values}
    if config.task.random_start:
        shape = fields(config.model).keys() & fields(pretrained.model).keys()
        for name in shape & {*OF_PARAMETERS, "heads"}:
            setattr(config.model, name, getattr(pretrained.model, name))
        marks, tokenizer = kind_of(config).marks, pretrained.data.tokenizer
        config.data.tokenizer = f"{marks}:{tokenizer}" if marks else tokenizer
        given |= {"data.tokenizer"}
    else:
        config.checkpoint.init_from = str(source.path)
    inherit(config, given)
    return resolve(config)


def _folder(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-+." else "_" for c in name)
