"""Answers, and what scores them: policies, rewards by name, rubrics, ratings."""

from gptjax.judging.named_rewards import REWARDS, load_rewards
from gptjax.judging.policies import Policy

__all__ = ["REWARDS", "Policy", "load_rewards"]
