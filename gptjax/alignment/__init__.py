"""Models that follow instructions: rewards, what they train, and how the results are judged."""

from gptjax.alignment.reward_model import RewardModel
from gptjax.alignment.rewards import BatchReward, Reward, RuleBased, composed

__all__ = ["BatchReward", "Reward", "RewardModel", "RuleBased", "composed"]
