"""Configuration of supervised fine-tuning; `gptjax.tasks.fine_tuning` is the kind of run."""

import dataclasses
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.settings import setting


@dataclasses.dataclass
class SFTSection:
    """Supervised fine-tuning: its data, its length, and the checkpoint that later commands take."""

    conversations: str | None = setting(
        None,
        "set of conversations: instructions, jsonl:PATH, votes:STORE, ...; none: it must be given",
    )
    validation: str | None = setting(
        None,
        "set of conversations that are held out; none: data.validation_fraction of the prompts in "
        "sft.conversations",
        gives_way_to="conversations",
    )
    epochs: int | None = setting(
        None, "passes over the conversations; none: training.num_steps decides", low=1
    )
    pretraining_share: float = setting(
        0.0, "share of the rows that is text from data.corpus", low=0.0, below=1.0
    )
    choose: str = setting(
        "loss",
        "checkpoint that later commands take: the one of the lowest loss, the highest reward, or "
        "the newest",
        choices=("loss", "reward", "newest"),
    )
    rewards: str | None = setting(
        None,
        "rewards that score the model's answers, with weights, as in ppo.rewards; none: answers "
        "are not scored",
        formerly="judges",
    )
    reward_prompts: int = setting(
        256,
        "largest number of held-out prompts whose answers are scored",
        low=1,
        formerly="judged_prompts",
    )
    random_start: bool = setting(
        False, "whether a run without checkpoint.init_from starts from random parameters"
    )


@dataclasses.dataclass
class SFTConfig(ExperimentConfig):
    """A run of supervised fine-tuning."""

    kind: ClassVar[str] = "sft"

    sft: SFTSection = dataclasses.field(default_factory=SFTSection)
