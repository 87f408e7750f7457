"""What makes a pipeline: the configurations of its stages.

@PIPELINES.register("instruct_demo")
def instruct_demo() -> Pipeline: ...
"""

import dataclasses
from collections.abc import Callable

from experiments.alignment.fine_tuning import SFTConfig
from experiments.alignment.policy_config import PPOConfig
from experiments.alignment.preference_optimisation import DPOConfig
from experiments.alignment.reward_modelling import RewardModelConfig
from gptjax.config import ExperimentConfig
from gptjax.registry import Registry


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
