"""The configuration of PPO, GRPO and RLOO.

PPOConfig(model=..., ppo=PPOSection(prompts="jsonl:prompts.jsonl", rewards="gold"))
"""

import dataclasses
from typing import ClassVar

from gptjax.alignment.ppo_settings import PPOSettings, StopSettings
from gptjax.config import ExperimentConfig
from gptjax.settings import setting


@dataclasses.dataclass
class PPOSection(PPOSettings):
    """PPO and its relatives: what is answered, and what answers earn."""

    prompts: str | None = None  # a set of prompts: instructions, jsonl:PATH, any set of the others
    samples: str | None = None  # a set whose answers are shown every training.eval_every iterations
    max_prompt_tokens: int = setting(1024, low=1)  # with the assistant's mark
    max_answer_tokens: int = setting(1024, low=1)  # with the end of the turn
    rewards: str | None = None  # judges and their weights: reward_model:WORKDIR, gold, ...
    value_from: str | None = None  # work directory of a reward model; none: the first of rewards
    rollout_slots: int | None = setting(None, low=1)  # answers written at once; none: a batch's


@dataclasses.dataclass
class PPOConfig(ExperimentConfig):
    """A run of PPO or of a relative: steps are iterations, a batch is of answers."""

    kind: ClassVar[str] = "ppo"

    ppo: PPOSection = dataclasses.field(default_factory=PPOSection)
    stop: StopSettings = dataclasses.field(default_factory=StopSettings)
