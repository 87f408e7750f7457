"""Configuration of a transfer study: what is pretrained, and how each system is fine-tuned.

@TRANSFERS.register("gpt_beside_bert")
def gpt_beside_bert() -> Transfer: ...
"""

import copy
import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gptjax.config import ExperimentConfig
from gptjax.registry import Registry
from gptjax.studies.changes import Changes, named, parse_values
from gptjax.tasks.classification.config import LabelledConfig


@dataclasses.dataclass(frozen=True)
class System:
    """A way from a pretrained model to one that does a task.

    Attributes:
      pretraining: the name of the pretrained model.
      tuning: the recipe; its task, model and tokenizer are filled in. With `task.random_start` the
        model has the shape of the pretrained one, and random parameters.
    """

    pretraining: str
    tuning: LabelledConfig


@dataclasses.dataclass(frozen=True)
class Transfer:
    """A study.

    Attributes:
      pretraining: configurations by the names of the models; the first one's length decides how
        much all may spend.
      systems: by name; all are compared with the first.
      tasks: changes of fields `task.` and others of a recipe, such as its rate.
    """

    pretraining: Mapping[str, ExperimentConfig]
    systems: Mapping[str, System]
    tasks: tuple[Changes, ...]

    def only(self, systems: Collection[str]) -> "Transfer":
        """A copy with the systems of these names, and what they start from.

        The first of each that is left is what lengths and comparisons go by.

        Raises:
          ValueError: a name that no system has.
        """
        if unknown := [name for name in systems if name not in self.systems]:
            raise ValueError(f"systems: got {unknown}, expected some of {list(self.systems)}")
        kept = {name: system for name, system in self.systems.items() if name in systems}
        needed = {system.pretraining for system in kept.values()}
        before = {name: x for name, x in self.pretraining.items() if name in needed}
        return Transfer(before, kept, self.tasks)

    def with_changes(self, pretrain: str | None, tune: str | None, tasks: str | None) -> "Transfer":
        """A copy with the user's changes.

        Args:
          pretrain: `section.field=value,...`, of every pretraining; None: none.
          tune: the same of every recipe.
          tasks: `NAME: section.field=value,...` with semicolons between tasks; None: its own.

        Raises:
          ValueError: see `parse_values`; a task without a name, or two of one name.
        """
        before = {name: copy.deepcopy(config) for name, config in self.pretraining.items()}
        systems = {name: copy.deepcopy(system) for name, system in self.systems.items()}
        if pretrain is not None:
            before = {name: _changed(x, pretrain, "--pretrain") for name, x in before.items()}
        if tune is not None:
            systems = {
                name: dataclasses.replace(system, tuning=_changed(system.tuning, tune, "--tune"))
                for name, system in systems.items()
            }
        return Transfer(before, systems, self.tasks if tasks is None else self._tasks(tasks))

    def _tasks(self, text: str) -> tuple[Changes, ...]:
        made: dict[str, Changes] = {}
        for part in text.split(";"):
            name, values = named(part)
            if name is None or name in made:
                wrong = f"no name in {part.strip()!r}" if name is None else f"two tasks {name!r}"
                raise ValueError(
                    f"--tasks: got {wrong}, expected NAME: task.train=..., with other names and "
                    "semicolons between tasks"
                )
            recipes = [system.tuning for system in self.systems.values()]
            parsed = [parse_values(recipe, values, "--tasks") for recipe in recipes]
            made[name] = Changes(name, parsed[0])  # a field must be one of every recipe
        return tuple(made.values())


def _changed(config: Any, text: str, flag: str) -> Any:
    return Changes("", parse_values(config, text, flag)).of(config)


TRANSFERS: Registry[Callable[[], Transfer]] = Registry("transfer study")
