"""Configuration of a pipeline: the configurations of its stages.

@PIPELINES.register("instruct_demo")
def instruct_demo() -> Pipeline: ...
"""

import dataclasses
from collections.abc import Callable

from gptjax.config import ExperimentConfig, resolve
from gptjax.registry import Registry
from gptjax.settings import REQUIRED, setting, validate
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.preference_optimisation import DPOConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from gptjax.tasks.policy_optimisation.config import PPOConfig


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """The stages of a pipeline; where each starts, and its seed, are the pipeline's.

    Without `dpo` there is no such stage.
    """

    pretrain: ExperimentConfig
    sft: SFTConfig
    reward_model: RewardModelConfig
    ppo: PPOConfig
    dpo: DPOConfig | None
    pretraining_coefficient: float = setting(
        REQUIRED,
        "gamma of the stage PPO-ptx, which differs from the stage PPO only in this",
        low=0.0,
    )
    judged: str = setting(
        REQUIRED, "set of prompts that all systems answer, and none is trained on"
    )
    best_of: int = setting(
        16,
        "answers to a prompt, of which best-of-n takes the one that the reward model prefers",
        low=1,
    )

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
          ValueError: a field of the wrong type or out of range.
        """
        validate(self, "pipeline.")

    def resolved(self) -> "Pipeline":
        """A copy in which every stage's configuration is resolved."""
        stages = {
            field.name: resolve(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if dataclasses.is_dataclass(getattr(self, field.name))
        }
        return dataclasses.replace(self, **stages)


PIPELINES: Registry[Callable[[], Pipeline]] = Registry("pipeline")
