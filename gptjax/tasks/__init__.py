"""Kinds of run, one module each."""

from gptjax.tasks.fine_tuning import SFTConfig
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.tasks.preference_optimisation import DPOConfig
from gptjax.tasks.reward_modelling import RewardModelConfig

__all__ = ["DPOConfig", "PPOConfig", "RewardModelConfig", "SFTConfig"]
