"""The typed configuration of the data engine: every field with its default, meaning and range.

    @PREPARATIONS.register("prepare_smoke")
    def prepare_smoke() -> PrepareConfig: ...

The figures are those of GPT-3 (2005.14165, appendices A and C) where it states them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from gptjax.curation.decontamination.config import RemovalConfig
from gptjax.data.choices import PACKINGS
from gptjax.registry import Registry
from gptjax.settings import REQUIRED, setting


@dataclasses.dataclass
class SourceConfig:
    """One source of documents."""

    reader: str = setting(REQUIRED, "how its files are read, by the name of a reader")
    location: str = setting(
        REQUIRED, "file, directory, glob or address of its files; of corpus: its specification"
    )
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    licence: str | None = setting(None, "licence of its texts; none: what the reader finds")
    heuristics: bool = setting(True, "whether the rules of `heuristics` and `language` sift it")
    quality: bool = setting(False, "whether the classifier of `quality` sifts it")
    priority: int = setting(
        0, "of copies in several sources the one of the lowest number stays", low=0
    )
    weight: float | None = setting(
        None,
        "share of the rows that are trained on, in any unit; none: its number of tokens",
        low=0,
    )
    held_out: float | None = setting(
        None,
        "share of its documents that a hash holds out for validation; none: as "
        "shards.validation_fraction says",
        low=0.0,
        high=1.0,
    )


@dataclasses.dataclass
class LanguageConfig:
    """Language identification."""

    accept: tuple[str, ...] = setting((), "languages that are kept, as en; none of them: all")
    threshold: float = setting(0.65, "least probability of one of them", low=0.0, high=1.0)


@dataclasses.dataclass
class QualityConfig:
    """Classifier of quality (2005.14165, appendix A)."""

    positives: tuple[str, ...] = setting((), "sources of good text; none: there is no classifier")
    negatives: tuple[str, ...] = setting((), "sources of raw text")
    documents: int = setting(
        100_000,
        "most documents of either side that it learns from, drawn by a hash; held-out ones are not",
        low=1,
    )
    alpha: float = setting(
        9.0, "a document is kept if a Pareto draw of this shape is above 1 - score", above=0.0
    )


@dataclasses.dataclass
class DeduplicationConfig:
    """Removal of copies, within sources and across them."""

    exact: bool = setting(True, "whether of equal texts one stays")
    scheme: str | None = setting(
        "gpt3",
        "MinHash scheme by which of similar texts one stays, gpt3 or fineweb; none: all stay",
    )
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    paragraphs: bool = setting(False, "whether paragraphs that came before are cut out")


@dataclasses.dataclass
class DecontaminationConfig:
    """Removal of evaluation text (2005.14165, appendix C)."""

    sets: tuple[str, ...] = setting(
        (), "evaluation sets: lambada:PATH, arc:PATH, piqa:PATH, gsm8k:PATH, jsonl:PATH#a,b, ..."
    )
    removal: RemovalConfig = dataclasses.field(default_factory=RemovalConfig)


@dataclasses.dataclass
class MixtureConfig:
    """How rows are made and mixed."""

    packing: str = setting(
        "concatenate",
        "how documents become rows: the stream is cut, the fullest row that has room takes the "
        "rest of a document, or each document has rows of its own",
        choices=PACKINGS,
    )
    tokens: int = setting(
        300_000_000_000, "training tokens for which the report counts epochs (table 2.2)", low=1
    )
    context_length: int = setting(2048, "tokens of a row, of which the report speaks", low=1)


@dataclasses.dataclass
class ShardsConfig:
    """Files of tokens."""

    megabytes: float = setting(64.0, "text of a shard in MB, on average", above=0.0)
    validation_fraction: float = setting(
        0.05, "share of documents that a hash holds out for validation", low=0.0, below=1.0
    )


@dataclasses.dataclass
class ExecutionConfig:
    """How much is in memory at a time, and how often a task is tried; no result depends on it."""

    part_megabytes: float = setting(
        64.0, "text of a process that is in memory at a time, in MB", above=0.0
    )
    attempts: int = setting(3, "times that a task is tried whose process dies", low=1)


@dataclasses.dataclass
class PrepareConfig:
    """Sources, stages and shards of prepared data."""

    tokenizer: str = setting(
        REQUIRED, "tokenizer: bytes, gpt2:DIR, gpt1:DIR, sentencepiece:FILE, or a folder or a name"
    )
    sources: dict[str, SourceConfig] = dataclasses.field(default_factory=dict)
    normalise: bool = setting(True, "whether broken characters are repaired, and NFC is applied")
    heuristics: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    language: LanguageConfig = dataclasses.field(default_factory=LanguageConfig)
    quality: QualityConfig = dataclasses.field(default_factory=QualityConfig)
    deduplication: DeduplicationConfig = dataclasses.field(default_factory=DeduplicationConfig)
    decontamination: DecontaminationConfig = dataclasses.field(
        default_factory=DecontaminationConfig
    )
    mixture: MixtureConfig = dataclasses.field(default_factory=MixtureConfig)
    shards: ShardsConfig = dataclasses.field(default_factory=ShardsConfig)
    execution: ExecutionConfig = dataclasses.field(default_factory=ExecutionConfig)
    seed: int = setting(0, "seed of every draw", low=0, high=2**31 - 1)


PREPARATIONS: Registry[Callable[[], PrepareConfig]] = Registry("preparation")
