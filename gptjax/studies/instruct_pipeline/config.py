"""Configuration of a pipeline: the configurations of its stages.

@PIPELINES.register("instruct_demo")
def instruct_demo() -> Pipeline: ...
"""

import dataclasses
from collections.abc import Callable

from gptjax.config import ExperimentConfig
from gptjax.registry import Registry
from gptjax.tasks.fine_tuning import SFTConfig
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.tasks.preference_optimisation import DPOConfig
from gptjax.tasks.reward_modelling import RewardModelConfig


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """The stages' configurations, each but for where it starts and its seed.

    Attributes:
      pretraining_coefficient: gamma of PPO-ptx, which is PPO else.
      judged: a set of prompts, which nothing is trained on, that all systems answer.
      best_of: n of best-of-n.
    """

    pretrain: ExperimentConfig
    sft: SFTConfig
    reward_model: RewardModelConfig
    ppo: PPOConfig
    dpo: DPOConfig
    pretraining_coefficient: float
    judged: str
    best_of: int = 16


PIPELINES: Registry[Callable[[], Pipeline]] = Registry("pipeline")
