"""Checks that the kinds of run after pretraining share.

yield follows_a_work_directory(config)
yield from has_room_for_answers(config, "dpo", config.dpo)
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from gptjax.attention.sight import out_of_sight
from gptjax.config import ExperimentConfig
from gptjax.interop.huggingface_directory import is_pretrained
from gptjax.models.transformer import attention_cycle
from gptjax.runs.kind import Check


class Lengths(Protocol):
    """A section that says how long prompts and answers are at most, in tokens."""

    max_prompt_tokens: int
    max_answer_tokens: int


def follows_a_work_directory(config: ExperimentConfig) -> Check:
    """A run starts from a work directory, whose tokenizer is known."""
    given = config.checkpoint.init_from
    return (
        "checkpoint.init_from",
        given is None or not is_pretrained(Path(given)),
        "a work directory, whose tokenizer is known, such as `python -m experiments.convert "
        f"--from_huggingface={given} --workdir=DIR` makes of it",
    )


def leaves_targets(config: ExperimentConfig) -> Check:
    """Under attention that looks ahead, some token is out of sight of all earlier ones."""
    hidden = out_of_sight(attention_cycle(config.model), config.model.context_length + 1)
    return (
        "model.attention",
        bool(hidden[1:].any()),
        f"one under which not every token of a context of {config.model.context_length} is seen by "
        "earlier ones, from which it is to be predicted",
    )


def has_room_for_answers(config: ExperimentConfig, name: str, section: Lengths) -> Iterator[Check]:
    """A context holds a prompt and an answer, and rows are whole on each device."""
    length = config.model.context_length
    yield (
        f"{name}.max_answer_tokens",
        section.max_prompt_tokens + section.max_answer_tokens <= length,
        f"at most {length - section.max_prompt_tokens}: context_length = {length} less "
        f"max_prompt_tokens = {section.max_prompt_tokens}",
    )
    fits = config.parallelism.sequence == 1
    yield "parallelism.sequence", fits, f"1 for the kind of run {config.kind}"
    fits = config.training.statistics_every is None
    yield "training.statistics_every", fits, f"none for the kind of run {config.kind}"
