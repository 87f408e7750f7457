"""A kind of run in twenty lines: a model that learns the tokens of a corpus, backwards."""

import dataclasses
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.settings import setting
from gptjax.tasks.language_modelling import LanguageModelling


@dataclasses.dataclass
class ToySection:
    """What is reversed."""

    reverse: bool = setting(True, "whether rows are read from their ends")
    shown: int = setting(3, "words that a person is shown")


@dataclasses.dataclass
class ToyConfig(ExperimentConfig):
    """A run that reads backwards."""

    kind: ClassVar[str] = "toy"

    toy: ToySection = dataclasses.field(default_factory=ToySection)


class Toy(LanguageModelling):
    """Pretraining on text that is read backwards."""

    config = ToyConfig
    identity = ("toy.reverse",)
    free = ("toy.shown",)

    def checks(self, config):
        yield from super().checks(config)
        yield "toy.shown", config.toy.shown < 10, "less than 10"

    def prepare(self, config):
        task = super().prepare(config)

        def batches(step, skipped, share):
            for batch in task.batches(step, skipped, share):
                names = ("tokens", "targets")
                turned = {name: batch[name][:, ::-1] for name in names}
                first, second = ("targets", "tokens") if config.toy.reverse else names
                yield batch | {"tokens": turned[first], "targets": turned[second]}

        return dataclasses.replace(task, batches=batches)


KIND = Toy()
