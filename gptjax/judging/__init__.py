"""Answers, and what scores them: policies, rewards by name, rubrics, ratings."""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.judging.named_rewards import REWARDS, load_rewards
    from gptjax.judging.policies import Policy

__all__ = ["REWARDS", "Policy", "load_rewards"]
__getattr__, __dir__ = public_names(__name__)
