"""Configuration of a classifier of undesired content.

config = ModerationConfig(moderation=ModerationSection(train="jsonl:samples.jsonl.gz"))
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.settings import Check, setting

CATEGORIES = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")
POOLINGS = ("last", "mean")


@dataclasses.dataclass
class ModerationSection:
    """Labelled texts, the categories, and the heads that score them."""

    train: str | None = setting(
        None,
        "set of labelled texts: jsonl:PATH, where a row has a text and 0 or 1 for each category "
        "that is known, or embedded; `,folds=5,of=0+2` behind it takes two of five folds by the "
        "hash of the text, `,limit=200` the first 200 rows; none: it must be given",
    )
    validation: str | None = setting(
        None,
        "set of labelled texts that are held out; none: data.validation_fraction of the texts in "
        "moderation.train",
        gives_way_to="train",
    )
    text: str = setting("prompt", "field of the text")
    categories: str = setting(
        ",".join(CATEGORIES), "fields of the categories, divided by commas; each has a head"
    )
    pooling: str = setting(
        "last",
        "what the heads read: the hidden state of the last token, or the mean over all tokens",
        choices=POOLINGS,
    )
    head_width: int = setting(256, "hidden units of a head", low=1)
    head_dropout: float = setting(
        0.1, "share of the heads' hidden units that are dropped", low=0.0, below=1.0
    )
    precision: float = setting(
        0.8,
        "precision on held-out texts at which the thresholds of the categories are chosen",
        above=0.0,
        high=1.0,
    )
    epochs: int | None = setting(
        3, "passes over the texts; none: training.num_steps decides", low=1
    )
    warmup_fraction: float = setting(
        0.0,
        "share of the steps that warm the learning rate up, if optimizer.warmup_steps and "
        "optimizer.warmup_tokens say nothing",
        low=0.0,
        below=1.0,
    )
    random_start: bool = setting(
        False, "whether a run without checkpoint.init_from starts from random parameters"
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The categories."""
        return tuple(name.strip() for name in self.categories.split(","))


@dataclasses.dataclass
class ModerationConfig(ExperimentConfig):
    """A run that trains a classifier of undesired content."""

    kind: ClassVar[str] = "moderation"

    moderation: ModerationSection = dataclasses.field(default_factory=ModerationSection)


def checks_of_categories(section: ModerationSection) -> Iterator[Check]:
    """There are categories, with names that differ."""
    names = section.names
    fits = all(names) and len(set(names)) == len(names) and section.text not in names
    yield "moderation.categories", fits, "different names of fields, none of them that of the text"
