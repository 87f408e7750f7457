"""Configuration of a reward model; `gptjax.tasks.reward_modelling` is the kind of run."""

import dataclasses
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.settings import setting
from gptjax.tasks.configs.rankings import RankingsSection


@dataclasses.dataclass
class RewardSection(RankingsSection):
    """A reward model: its rankings, and the zero of its rewards."""

    share_prompts: bool = setting(False, "whether a prompt is encoded once for all its answers")
    demonstrations: str | None = setting(
        None,
        "set of conversations; rewards are shifted so that those of this set average 0; none: it "
        "must be given",
        gives_way_to="rankings",
    )
    unit_variance: bool = setting(
        False, "whether the rewards of demonstrations also get standard deviation 1"
    )


@dataclasses.dataclass
class RewardModelConfig(ExperimentConfig):
    """A run that trains a reward model."""

    kind: ClassVar[str] = "reward_model"

    reward: RewardSection = dataclasses.field(default_factory=RewardSection)
