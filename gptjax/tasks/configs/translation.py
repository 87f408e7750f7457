"""Configuration of a translation model; `gptjax.tasks.translation` is the kind of run."""

import dataclasses
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.model_config import EncoderDecoderConfig
from gptjax.settings import setting


@dataclasses.dataclass
class TranslationSection:
    """Translation: its pairs, their batches, the loss, and how targets are searched for."""

    pairs: str | None = setting(
        None,
        "set of pairs: files:SOURCE,TARGET, tsv:PATH, jsonl:PATH#source,target, numbers, ...; "
        "none: it must be given",
    )
    validation: str | None = setting(
        None,
        "set of pairs that are held out; none: data.validation_fraction of the sources in "
        "translation.pairs, with all their targets",
        gives_way_to="pairs",
    )
    past_context: str = setting(
        "drop",
        "pairs with a side of more tokens than the context are left out, or lose their last tokens",
        choices=("drop", "cut"),
    )
    buckets: int = setting(
        8, "most lengths that batches have; each is compiled, and more of them pad less", low=1
    )
    label_smoothing: float = setting(
        0.1, "probability that the loss spreads over all other tokens", low=0.0, below=1.0
    )
    average: int = setting(
        1,
        "last checkpoints whose parameters are averaged for evaluations after the run, and to "
        "translate; checkpoint.keep must keep as many",
        low=1,
    )
    num_beams: int = setting(4, "beams that search for a target; 1: greedy", low=1)
    length_penalty: float = setting(
        0.6, "alpha of the beams' scores, which are divided by ((5 + n) / 6) ^ alpha", low=0.0
    )
    more_tokens: int = setting(50, "most tokens by which a target is longer than its source", low=0)
    scored_pairs: int = setting(
        0,
        "held-out pairs that are translated at each evaluation, for BLEU and chrF (extra "
        "`translation`); 0: none",
        low=0,
    )
    bleu_tokenizer: str = setting(
        "13a",
        "how sacrebleu divides text into words for BLEU: 13a or intl; zh for Chinese, char (each "
        "character) for Japanese; none for text that has spaces between all words",
        choices=("13a", "intl", "zh", "char", "none"),
    )


@dataclasses.dataclass
class TranslationConfig(ExperimentConfig):
    """A run that trains a translation model."""

    kind: ClassVar[str] = "translation"

    model: EncoderDecoderConfig = dataclasses.field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=EncoderDecoderConfig
    )
    translation: TranslationSection = dataclasses.field(default_factory=TranslationSection)
