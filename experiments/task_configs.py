"""Configurations of what is trained after pretraining: an `ExperimentConfig` and one section more.

SFTConfig(model=..., sft=SFTSection(conversations="jsonl:chats.jsonl"))
"""

import copy
import dataclasses
import math
from typing import TypeVar

from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.settings import setting

Config = TypeVar("Config", bound=ExperimentConfig)


@dataclasses.dataclass
class SFTSection:
    """Supervised fine-tuning: what is learned from, for how long, and which model it makes."""

    conversations: str | None = None  # a set of conversations: instructions, jsonl:PATH, dolly:PATH
    validation: str | None = None  # likewise; none: data.validation_fraction of the others' prompts
    epochs: int | None = setting(None, low=1)  # of the conversations; none: training.num_steps
    pretraining_share: float = setting(0.0, low=0.0, below=1.0)  # of the rows, from data.corpus
    choose: str = setting("best", choices=("best", "newest"))  # the checkpoint for what comes after
    random_start: bool = False  # whether a run without init_from begins at random parameters


@dataclasses.dataclass
class RewardSection:
    """A reward model: what is learned from, how it is cut, and where the rewards' zero is."""

    rankings: str | None = (
        None  # a set of rankings: instructions, jsonl:PATH, hh:PATH, pandalm:PATH
    )
    validation: str | None = None  # likewise; none: data.validation_fraction of the others' prompts
    epochs: int | None = setting(None, low=1)  # of the rankings; none: training.num_steps
    max_prompt_tokens: int = setting(1024, low=1)  # with the assistant's mark
    max_answer_tokens: int = setting(1024, low=1)  # with the end of the turn
    share_prompts: bool = False  # whether a prompt is encoded once for all its answers
    demonstrations: str | None = None  # a set of conversations, whose rewards are to average 0
    unit_variance: bool = False  # whether their standard deviation is to be 1 besides
    random_start: bool = False  # whether a run without init_from begins at random parameters


@dataclasses.dataclass
class SFTConfig(ExperimentConfig):
    """A run of `experiments.sft`."""

    sft: SFTSection = dataclasses.field(default_factory=SFTSection)


@dataclasses.dataclass
class RewardModelConfig(ExperimentConfig):
    """A run of `experiments.reward_model`."""

    reward: RewardSection = dataclasses.field(default_factory=RewardSection)


TASKS: dict[str, type[ExperimentConfig]] = {
    "pretrain": ExperimentConfig,
    "sft": SFTConfig,
    "reward_model": RewardModelConfig,
}


def task_of(config: ExperimentConfig) -> str:
    """The binary whose runs are configured by such a configuration: a name in TASKS."""
    return next(name for name, kind in TASKS.items() if kind is type(config))


def with_examples(config: Config, examples: float) -> Config:
    """A resolved `config` with the fewest steps that take so many examples.

    A decay over the whole run stays one.
    """
    config = copy.deepcopy(config)
    training, optimizer = config.training, config.optimizer
    tokens = math.ceil(examples) * config.model.context_length
    num_steps = batch_schedule(config).steps_for(tokens)
    if optimizer.decay_steps == training.num_steps:
        optimizer.decay_steps = num_steps
    training.num_steps = num_steps
    return config


def may_start_at_random(config: ExperimentConfig) -> bool:
    """Whether a new run without `checkpoint.init_from` begins at random parameters."""
    if isinstance(config, SFTConfig):
        return config.sft.random_start
    if isinstance(config, RewardModelConfig):
        return config.reward.random_start
    return True
