"""Configuration of BERT's pretraining; `gptjax.tasks.masked_lm` is the kind of run."""

import dataclasses
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.model_config import BertConfig
from gptjax.settings import setting


@dataclasses.dataclass
class MaskedLMSection:
    """The rows of BERT's pretraining, and their masks."""

    max_tokens: int | None = setting(
        None,
        "tokens in a row, [CLS] and [SEP] included; none: model.context_length",
        low=8,
    )
    sentences: str = setting(
        "text",
        "where sentences end: after . ! or ? and at blank lines (text), or with each line (lines)",
        choices=("text", "lines"),
    )
    short_share: float = setting(
        0.1, "share of documents that are cut into shorter rows, of a random length", low=0, high=1
    )
    mask_rate: float = setting(
        0.15, "share of a row's tokens that the model predicts", above=0.0, below=1.0
    )
    max_masked: int | None = setting(
        None,
        "largest number of tokens of a row that the model predicts; none: mask_rate x max_tokens",
        low=1,
    )
    mask_share: float = setting(
        0.8, "share of the predicted tokens that [MASK] replaces", low=0.0, high=1.0
    )
    random_share: float = setting(
        0.1, "share of the predicted tokens that a random token replaces", low=0.0, high=1.0
    )
    whole_words: bool = setting(False, "whether all pieces of a word are predicted together")


@dataclasses.dataclass
class MaskedLMConfig(ExperimentConfig):
    """A run that trains BERT on a corpus."""

    kind: ClassVar[str] = "masked_lm"

    model: BertConfig = dataclasses.field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=BertConfig
    )
    masked_lm: MaskedLMSection = dataclasses.field(default_factory=MaskedLMSection)

    @property
    def row_tokens(self) -> int:
        """Tokens in a row."""
        return self.masked_lm.max_tokens or self.model.context_length

    @property
    def row_masked(self) -> int:
        """The most tokens of a row that are predicted."""
        section = self.masked_lm
        return section.max_masked or max(1, round(section.mask_rate * self.row_tokens))
