"""Configuration of a run that learns to answer questions about passages.

config = QuestionAnsweringConfig(squad=SquadSection(train="train-v1.1.json"))
"""

import dataclasses
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.model_config import BertConfig
from gptjax.settings import setting


@dataclasses.dataclass
class SquadSection:
    """Questions about passages, and the rows that are made of them."""

    train: str | None = setting(
        None,
        "file, directory or glob of questions in SQuAD's format, version 1.1; none: it must be "
        "given",
    )
    validation: str | None = setting(
        None,
        "likewise, of questions that are held out; none: data.validation_fraction of the passages "
        "in squad.train",
        gives_way_to="train",
    )
    max_tokens: int | None = setting(
        None, "tokens in a row, the question included; none: model.context_length", low=8
    )
    doc_stride: int = setting(
        128, "tokens between the beginnings of two windows of a long passage", low=1
    )
    max_question_tokens: int = setting(
        64, "tokens of a question; longer ones are cut at their end", low=1
    )
    max_answer_tokens: int = setting(30, "longest answer that is given, in tokens", low=1)
    epochs: int | None = setting(
        3, "passes over the windows; none: training.num_steps decides", low=1
    )
    warmup_fraction: float = setting(
        0.1,
        "share of the steps that warm the learning rate up, if optimizer.warmup_steps and "
        "optimizer.warmup_tokens say nothing",
        low=0.0,
        below=1.0,
    )
    random_start: bool = setting(
        False, "whether a run without checkpoint.init_from starts from random parameters"
    )


@dataclasses.dataclass
class QuestionAnsweringConfig(ExperimentConfig):
    """A run that fine-tunes BERT on questions about passages."""

    kind: ClassVar[str] = "question_answering"

    model: BertConfig = dataclasses.field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=BertConfig
    )
    squad: SquadSection = dataclasses.field(default_factory=SquadSection)

    @property
    def row_tokens(self) -> int:
        """Tokens in a row, at most."""
        return self.squad.max_tokens or self.model.context_length
