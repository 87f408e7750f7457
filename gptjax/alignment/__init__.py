"""Models that follow instructions: rewards, what they train, and how the results are judged."""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.alignment.reward_model import RewardModel
    from gptjax.alignment.rewards import BatchReward, Reward, RuleBased, composed

__all__ = ["BatchReward", "Reward", "RewardModel", "RuleBased", "composed"]
__getattr__, __dir__ = public_names(__name__)
