"""What the configuration of a kind of run may not say: refused before anything is read.

check_task(config)
"""

from collections.abc import Iterator
from pathlib import Path

from experiments.task_configs import (
    DPOConfig,
    PPOConfig,
    PPOSection,
    RankingsSection,
    RewardModelConfig,
    SFTConfig,
    task_of,
)
from gptjax.alignment.ppo_settings import check
from gptjax.config import ExperimentConfig
from gptjax.interop.huggingface_directory import is_pretrained


def check_task(config: ExperimentConfig) -> None:
    """Refuses what a resolved `config` of its kind cannot have; pretraining can have all.

    Raises:
      ValueError: naming the field, what it got and what is allowed.
    """
    if isinstance(config, SFTConfig):
        checks = _of_fine_tuning(config)
    elif isinstance(config, RewardModelConfig):
        checks = _of_answers(config, "reward", config.reward)
    elif isinstance(config, DPOConfig):
        checks = (*_of_answers(config, "dpo", config.dpo), *_of_preferences(config))
    elif isinstance(config, PPOConfig):
        check(config.ppo, config.training.batch_size)
        checks = (*_of_answers(config, "ppo", config.ppo), *_of_policies(config))
    else:
        return
    for field, fits, allowed in (*checks, *_of_the_start(config)):
        if not fits:
            section, name = field.split(".")
            got = getattr(getattr(config, section), name)
            raise ValueError(f"config.{field}: got {got}, expected {allowed}")


Check = tuple[str, bool, str]  # of a field: whether it fits, and what would


def _of_the_start(config: ExperimentConfig) -> Iterator[Check]:
    given = config.checkpoint.init_from
    yield (
        "checkpoint.init_from",
        given is None or not is_pretrained(Path(given)),
        "a work directory, whose tokenizer is known, such as `python -m experiments.convert "
        f"--from_huggingface={given} --workdir=DIR` makes of it",
    )


def _of_fine_tuning(config: SFTConfig) -> Iterator[Check]:
    saved, judged = config.checkpoint.every_steps, config.training.eval_every
    yield (
        "checkpoint.every_steps",
        config.sft.choose == "newest" or saved % judged == 0 or judged % saved == 0,
        f"a multiple or a divisor of training.eval_every = {judged}, so that what is judged is "
        "saved (or sft.choose=newest)",
    )
    yield (
        "sft.judges",
        config.sft.choose != "reward" or config.sft.judges is not None,
        "judges such as reward_model:WORKDIR with sft.choose=reward",
    )


def _of_answers(
    config: ExperimentConfig, name: str, section: RankingsSection | PPOSection
) -> Iterator[Check]:
    length, task = config.model.context_length, f"experiments.{task_of(config)}"
    yield (
        f"{name}.max_answer_tokens",
        section.max_prompt_tokens + section.max_answer_tokens <= length,
        f"at most {length - section.max_prompt_tokens}: context_length = {length} less "
        f"max_prompt_tokens = {section.max_prompt_tokens}",
    )
    yield "parallelism.sequence", config.parallelism.sequence == 1, f"1 for {task}"
    yield (
        "training.statistics_every",
        config.training.statistics_every is None,
        f"none for {task}",
    )


def _of_policies(config: PPOConfig) -> Iterator[Check]:
    fits = config.parallelism.strategy != "pmap"
    yield "parallelism.strategy", fits, "single or mesh for experiments.ppo"
    training, task = config.training, "experiments.ppo, whose loop has no such thing"
    for name in ("batch_ramp_start", "skip_grad_norm", "rollback_after", "eval_batches"):
        yield f"training.{name}", getattr(training, name) is None, f"none for {task}"
    yield "profile.num_steps", config.profile.num_steps == 0, f"0 for {task}"


def _of_preferences(config: DPOConfig) -> Iterator[Check]:
    for name in ("embedding_dropout", "attention_dropout", "residual_dropout"):
        yield (
            f"model.{name}",
            getattr(config.model, name) == 0,
            "0 for experiments.dpo: its reference has none",
        )
    yield (
        "dpo.label_smoothing",
        config.dpo.loss == "dpo" or config.dpo.label_smoothing == 0,
        "0 with dpo.loss=ipo",
    )
