"""What the configuration of PPO may not say: refused before anything is read.

check_policy(config)
check_divides(config, mesh)
"""

from pathlib import Path
from typing import Any

from experiments.task_configs import PPOConfig
from gptjax.alignment.ppo_settings import check
from gptjax.interop.huggingface_directory import is_pretrained


def check_policy(config: PPOConfig) -> None:
    """Refuses what a resolved `config` cannot have.

    Raises:
      ValueError: naming the field, what it got and what is allowed.
    """
    section, parallelism = config.ppo, config.parallelism
    check(section, config.training.batch_size)
    longest = section.max_prompt_tokens + section.max_answer_tokens
    if longest > config.model.context_length:
        room = config.model.context_length - section.max_prompt_tokens
        raise ValueError(
            f"config.ppo.max_answer_tokens: got {section.max_answer_tokens}, expected at most "
            f"{room}: context_length = {config.model.context_length} less max_prompt_tokens = "
            f"{section.max_prompt_tokens}"
        )
    if parallelism.strategy == "pmap" or parallelism.sequence > 1:
        raise ValueError(
            f"config.parallelism: got strategy={parallelism.strategy}, sequence="
            f"{parallelism.sequence}, expected single or mesh with sequence=1 for experiments.ppo"
        )
    given = config.checkpoint.init_from
    if given is not None and is_pretrained(Path(given)):
        raise ValueError(
            f"config.checkpoint.init_from: got {given}, expected a work directory, whose tokenizer "
            f"is known, such as `python -m experiments.convert --from_huggingface={given} "
            "--workdir=DIR` makes of it"
        )


def check_divides(config: PPOConfig, mesh: Any) -> None:
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
            f"expected at least {longest}, max_prompt_tokens and max_answer_tokens"
        )
