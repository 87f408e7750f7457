"""Checks of PPO's configuration against its mesh and its reward models.

minibatches_divide(config, mesh)
check_room("value_from", model.context_length, config)
"""

from typing import Any

from gptjax.tasks.policy_optimisation.config import PPOConfig


def minibatches_divide(config: PPOConfig, mesh: Any) -> None:
    """Checks that minibatches, and the text beside them, divide over a mesh.

    Raises:
      ValueError: they do not.
    """
    section = config.ppo
    rows = config.training.batch_size // section.minibatches
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % shards or rows * section.pretraining_rows % (shards * config.training.accumulate):
        raise ValueError(
            f"config.ppo.minibatches: got {section.minibatches}, {rows} answers each, expected "
            f"minibatches that divide over {shards} devices (parallelism.data x fsdp), and their "
            f"text into training.accumulate = {config.training.accumulate} microbatches"
        )


def check_room(field: str, context_length: int, config: PPOConfig) -> None:
    """Checks that a reward model reads whole answers, whose `field` of config.ppo names it.

    Raises:
      ValueError: its context is too short.
    """
    longest = config.ppo.max_prompt_tokens + config.ppo.max_answer_tokens
    if context_length < longest:
        raise ValueError(
            f"config.ppo.{field}: got a reward model of context_length = {context_length}, "
            f"expected at least {longest} = max_prompt_tokens + max_answer_tokens"
        )
