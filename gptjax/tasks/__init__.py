"""Kinds of run, one module each."""

from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.preference_optimisation import DPOConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from gptjax.tasks.policy_optimisation.config import PPOConfig

__all__ = ["DPOConfig", "PPOConfig", "RewardModelConfig", "SFTConfig"]
