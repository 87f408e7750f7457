"""Configurations of what is trained after pretraining: an `ExperimentConfig` and one section more.

SFTConfig(model=..., sft=SFTSection(conversations="jsonl:chats.jsonl"))
"""

import copy
import dataclasses
import math

from gptjax.alignment.ppo_settings import PPOSettings, StopSettings
from gptjax.config import Config, ExperimentConfig, TrainingConfig, batch_schedule
from gptjax.settings import setting


@dataclasses.dataclass
class SFTSection:
    """Supervised fine-tuning: what is learned from, for how long, and which model it makes."""

    conversations: str | None = None  # a set of conversations: instructions, jsonl:PATH, dolly:PATH
    validation: str | None = None  # likewise; none: data.validation_fraction of the others' prompts
    epochs: int | None = setting(None, low=1)  # in place of num_steps; none: as that says
    pretraining_share: float = setting(0.0, low=0.0, below=1.0)  # of the rows, from data.corpus
    choose: str = setting("loss", choices=("loss", "reward", "newest"))  # whose checkpoint is taken
    judges: str | None = None  # and their weights, as ppo.rewards; none: answers are not judged
    judged_prompts: int = setting(256, low=1)  # held out, that are answered to be judged
    random_start: bool = False  # whether a run without init_from begins at random parameters


@dataclasses.dataclass
class RankingsSection:
    """What is learned from rankings, and how they are cut."""

    rankings: str | None = (
        None  # a set of rankings: instructions, jsonl:PATH, hh:PATH, pandalm:PATH
    )
    validation: str | None = None  # likewise; none: data.validation_fraction of the others' prompts
    epochs: int | None = setting(None, low=1)  # in place of num_steps; none: as that says
    max_prompt_tokens: int = setting(1024, low=1)  # with the assistant's mark
    max_answer_tokens: int = setting(1024, low=1)  # with the end of the turn
    max_answers: int = setting(9, low=2)  # of a prompt; rankings of more are left out
    random_start: bool = False  # whether a run without init_from begins at random parameters


@dataclasses.dataclass
class RewardSection(RankingsSection):
    """A reward model: how it reads rankings, and where the rewards' zero is."""

    share_prompts: bool = False  # whether a prompt is encoded once for all its answers
    demonstrations: str | None = None  # a set of conversations, whose rewards are to average 0
    unit_variance: bool = False  # whether their standard deviation is to be 1 besides


@dataclasses.dataclass
class DPOSection(RankingsSection):
    """DPO and IPO: the loss."""

    loss: str = setting("dpo", choices=("dpo", "ipo"))
    beta: float = setting(0.1, above=0.0)  # how dear it is to leave the start; tau of ipo
    label_smoothing: float = setting(0.0, low=0.0, below=0.5)  # of dpo: share that is wrong
    kl_prompts: int = setting(64, low=0)  # held out, whose answers show how far it has gone


@dataclasses.dataclass
class PPOSection(PPOSettings):
    """PPO and its relatives: what is answered, and what answers earn."""

    prompts: str | None = None  # a set of prompts: instructions, jsonl:PATH, any set of the others
    samples: str | None = None  # a set whose answers are shown every training.eval_every iterations
    max_prompt_tokens: int = setting(1024, low=1)  # with the assistant's mark
    max_answer_tokens: int = setting(1024, low=1)  # with the end of the turn
    rewards: str | None = None  # judges and their weights: reward_model:WORKDIR, gold, ...
    value_from: str | None = None  # work directory of a reward model; none: the first of rewards
    rollout_slots: int | None = setting(None, low=1)  # answers written at once; none: a batch's


@dataclasses.dataclass
class SFTConfig(ExperimentConfig):
    """A run of `experiments.sft`."""

    sft: SFTSection = dataclasses.field(default_factory=SFTSection)

    @property
    def counts_epochs(self) -> bool:
        """Whether epochs of the conversations decide how many steps there are."""
        return self.sft.epochs is not None


@dataclasses.dataclass
class RewardModelConfig(ExperimentConfig):
    """A run of `experiments.reward_model`."""

    reward: RewardSection = dataclasses.field(default_factory=RewardSection)

    @property
    def counts_epochs(self) -> bool:
        """Whether epochs of the rankings decide how many steps there are."""
        return self.reward.epochs is not None


@dataclasses.dataclass
class DPOConfig(ExperimentConfig):
    """A run of `experiments.dpo`."""

    dpo: DPOSection = dataclasses.field(default_factory=DPOSection)

    @property
    def counts_epochs(self) -> bool:
        """Whether epochs of the rankings decide how many steps there are."""
        return self.dpo.epochs is not None


@dataclasses.dataclass
class PPOConfig(ExperimentConfig):
    """A run of `experiments.ppo`: steps are iterations, a batch is of answers."""

    ppo: PPOSection = dataclasses.field(default_factory=PPOSection)
    stop: StopSettings = dataclasses.field(default_factory=StopSettings)


TASKS: dict[str, type[ExperimentConfig]] = {
    "pretrain": ExperimentConfig,
    "sft": SFTConfig,
    "reward_model": RewardModelConfig,
    "ppo": PPOConfig,
    "dpo": DPOConfig,
}


def task_of(config: ExperimentConfig) -> str:
    """The binary whose runs are configured by such a configuration: a name in TASKS."""
    return next(name for name, kind in TASKS.items() if kind is type(config))


def with_examples(config: Config, examples: float) -> Config:
    """A resolved `config` with the fewest steps that take so many examples.

    The learning rate decays over all of them unless `config` says how long it does.

    Raises:
      ValueError: it says another number of steps besides.
    """
    config = copy.deepcopy(config)
    training, optimizer = config.training, config.optimizer
    tokens = math.ceil(examples) * config.model.context_length
    num_steps = batch_schedule(config).steps_for(tokens)
    if training.num_steps not in (num_steps, TrainingConfig().num_steps):
        raise ValueError(
            f"config.training.num_steps: got {training.num_steps} with epochs, which take "
            f"{num_steps} steps, expected one of the two (epochs=none lets num_steps decide)"
        )
    if optimizer.decay_steps is None and optimizer.decay_tokens is None:
        optimizer.decay_steps = num_steps
    training.num_steps = num_steps
    return config


def may_start_at_random(config: ExperimentConfig) -> bool:
    """Whether a new run without `checkpoint.init_from` begins at random parameters."""
    if isinstance(config, SFTConfig):
        return config.sft.random_start
    if isinstance(config, RewardModelConfig):
        return config.reward.random_start
    if isinstance(config, DPOConfig):
        return config.dpo.random_start
    return not isinstance(config, PPOConfig)
