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
    """PPO, GRPO and RLOO: prompts, rewards, and settings of the updates."""

    prompts: str | None = setting(
        None,
        "set of prompts to answer: instructions, jsonl:PATH or any other set; none: it must be "
        "given",
    )
    samples: str | None = setting(
        None,
        "set of prompts whose answers are shown, with their scores, every training.eval_every "
        "iterations; none: the first one of ppo.prompts without a score, or nothing if "
        "training.sample_tokens is 0",
        gives_way_to="prompts",
    )
    max_prompt_tokens: int = setting(
        1024, "largest number of tokens in a prompt, including the assistant's mark", low=1
    )
    max_answer_tokens: int = setting(
        1024, "largest number of tokens in an answer, including the end of its turn", low=1
    )
    rewards: str | None = setting(
        None,
        "rewards and their weights, such as reward_model:WORKDIR + 0.5*gold; none: it must be "
        "given",
    )
    value_from: str | None = setting(
        None,
        "work directory of the reward model that the value network starts from; none: the first "
        "reward model of rewards, or the policy if rewards has none",
    )
    rollout_slots: int | None = setting(
        None, "answers that are written at the same time; none: all answers of a batch", low=1
    )


@dataclasses.dataclass
class PPOConfig(ExperimentConfig):
    """A run of PPO, GRPO or RLOO. A step is an iteration, and a batch consists of answers."""

    kind: ClassVar[str] = "ppo"

    ppo: PPOSection = dataclasses.field(default_factory=PPOSection)
    stop: StopSettings = dataclasses.field(default_factory=StopSettings)
