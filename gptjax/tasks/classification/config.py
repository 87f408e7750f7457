"""Configuration of a task with labels that a pretrained model is fine-tuned on.

config = BertClassificationConfig(task=TaskSection(train="jsonl:train.jsonl", labels="no,yes"))
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar, TypeVar

from gptjax.config import ExperimentConfig
from gptjax.data.choices import FORMS
from gptjax.judging.choices import OF_CLASSES, OF_NUMBERS
from gptjax.model_config import BertConfig
from gptjax.settings import Check, setting


@dataclasses.dataclass
class TaskSection:
    """A task: its data, the form of its inputs, its labels, its loss and its length."""

    train: str | None = setting(
        None,
        "set of labelled examples: jsonl:PATH, tsv:PATH or embedded; none: it must be given",
    )
    validation: str | None = setting(
        None,
        "set of labelled examples that are held out; none: data.validation_fraction of the texts "
        "in task.train",
        gives_way_to="train",
    )
    form: str = setting(
        "classification",
        "form of the inputs: one text; a premise and a hypothesis; two texts, which a GPT reads in "
        "both orders; a context and candidates",
        choices=FORMS,
    )
    text: str = setting("text", "field of the text, the premise or the context")
    text_b: str | None = setting(
        None, "field of the second text; none: the form of the inputs has no second text"
    )
    choices: str | None = setting(
        None,
        "fields of the candidates, divided by commas, or the one field with a list of them; none: "
        "the form of the inputs has no candidates",
    )
    label: str = setting("label", "field of the label")
    labels: str | None = setting(
        None,
        "names of the classes, or of the candidates in their order, divided by commas; none: "
        "labels are numbers, which are predicted with a squared error",
    )
    metric: str = setting(
        "accuracy",
        "figure whose highest value on held-out examples decides which checkpoint later commands "
        "take",
        choices=(*OF_CLASSES, *OF_NUMBERS),
    )
    epochs: int | None = setting(
        3, "passes over the examples; none: training.num_steps decides", low=1
    )
    warmup_fraction: float = setting(
        0.002,
        "share of the steps that warm the learning rate up, if optimizer.warmup_steps and "
        "optimizer.warmup_tokens say nothing",
        low=0.0,
        below=1.0,
    )
    head_dropout: float = setting(
        0.1, "share of the features that are dropped before the head", low=0.0, below=1.0
    )
    random_start: bool = setting(
        False, "whether a run without checkpoint.init_from starts from random parameters"
    )

    @property
    def names(self) -> tuple[str, ...] | None:
        """The labels, or None where they are numbers."""
        return None if self.labels is None else _divided(self.labels)

    @property
    def choice_fields(self) -> tuple[str, ...]:
        """The fields of the candidates, or the one with a list of them; (): there are none."""
        return () if self.choices is None else _divided(self.choices)

    @property
    def num_outputs(self) -> int:
        """C: classes; 1 for a number or for the score of a candidate."""
        return 1 if self.names is None or self.form == "choice" else len(self.names)

    @property
    def width(self) -> int:
        """K: sequences of an example."""
        return len(self.names or ()) if self.form == "choice" else 1


@dataclasses.dataclass
class GPTTaskSection(TaskSection):
    """A task: its data, the form of its inputs, its labels, its losses and its length."""

    lm_weight: float = setting(
        0.5, "weight of the language model's loss beside that of the task", low=0.0
    )
    table_dropout: float = setting(
        0.0,
        "share of the numbers in the tables of tokens and positions that are dropped in a step, "
        "for all texts and logits alike, as in GPT-1's code; with model.embedding_dropout=0",
        low=0.0,
        below=1.0,
    )
    transferred_layers: int | None = setting(
        None,
        "how many of the first layers are those of the pretrained model, besides its tables; the "
        "others start at random; none: all",
        low=0,
    )

    @property
    def width(self) -> int:
        """K: sequences of an example."""
        return 2 if self.form == "similarity" else super().width


@dataclasses.dataclass
class LabelledConfig(ExperimentConfig):
    """A run that fine-tunes a model on a task with labels."""

    task: TaskSection = dataclasses.field(default_factory=TaskSection)


Labelled = TypeVar("Labelled", bound=LabelledConfig)


@dataclasses.dataclass
class ClassificationConfig(LabelledConfig):
    """A run that fine-tunes a language model on a task."""

    kind: ClassVar[str] = "classification"

    task: GPTTaskSection = dataclasses.field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=GPTTaskSection
    )


@dataclasses.dataclass
class BertClassificationConfig(LabelledConfig):
    """A run that fine-tunes BERT on a task."""

    kind: ClassVar[str] = "bert_classification"

    model: BertConfig = dataclasses.field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=BertConfig
    )


def _divided(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(","))


def checks_of_task(task: TaskSection) -> Iterator[Check]:
    """A form with its fields, and labels with a metric of theirs."""
    names, pair = task.names or (), task.form in ("entailment", "similarity")
    yield (
        "task.text_b",
        (task.text_b is not None) == pair,
        f"{'the field of the second text' if pair else 'none'} with task.form={task.form}",
    )
    chooses = task.form == "choice"
    yield (
        "task.choices",
        (task.choices is not None) == chooses,
        f"{'fields of the candidates' if chooses else 'none'} with task.form={task.form}",
    )
    yield (
        "task.labels",
        bool(names) or (task.metric in OF_NUMBERS and not chooses),
        f"names such as 0,1 with task.form={task.form} and task.metric={task.metric} (labels that "
        "are numbers need another form than choice, and task.metric=pearson or spearman)",
    )
    fits = not names or (len(names) == len(set(names)) > 1 and all(names))
    yield "task.labels", fits, "two different names or more"
    of = OF_CLASSES if names else OF_NUMBERS
    yield "task.metric", task.metric in of, f"one of {', '.join(of)} with task.labels={task.labels}"
