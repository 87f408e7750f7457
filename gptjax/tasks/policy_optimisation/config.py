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

    prompts: str | None = setting(
        None, "prompts to answer: instructions, jsonl:PATH or any other set; none: must be given"
    )
    samples: str | None = setting(
        None,
        "set of prompts whose answers are shown every training.eval_every iterations; none: "
        "nothing is shown",
    )
    max_prompt_tokens: int = setting(
        1024, "most tokens of a prompt, the assistant's mark included", low=1
    )
    max_answer_tokens: int = setting(
        1024, "most tokens of an answer, the end of its turn included", low=1
    )
    rewards: str | None = setting(
        None, "judges and their weights, as reward_model:WORKDIR + 0.5*gold; none: must be given"
    )
    value_from: str | None = setting(
        None,
        "work directory of the reward model that the value network starts from; none: the first "
        "one of rewards, or else the policy",
    )
    rollout_slots: int | None = setting(
        None, "answers written at once; none: as many as a batch has", low=1
    )


@dataclasses.dataclass
class PPOConfig(ExperimentConfig):
    """A run of PPO or of a relative: steps are iterations, a batch is of answers."""

    kind: ClassVar[str] = "ppo"

    ppo: PPOSection = dataclasses.field(default_factory=PPOSection)
    stop: StopSettings = dataclasses.field(default_factory=StopSettings)
