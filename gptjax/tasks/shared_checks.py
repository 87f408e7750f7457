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
from gptjax.runs.kind import kind_of
from gptjax.settings import Check


class Lengths(Protocol):
    """A section that says how long prompts and answers are at most, in tokens."""

    max_prompt_tokens: int
    max_answer_tokens: int


def follows_a_work_directory(config: ExperimentConfig) -> Check:
    """A run starts from a work directory, whose model has learned the marks of a chat."""
    given = config.checkpoint.init_from
    return (
        "checkpoint.init_from",
        given is None or not is_pretrained(Path(given)),
        f"the work directory of a run of kind {kind_of(config).follows}, which may itself start "
        "from that directory of Hugging Face's",
    )


def leaves_targets(config: ExperimentConfig) -> Check:
    """Some token is hidden from all earlier ones, even under attention that looks ahead."""
    hidden = out_of_sight(attention_cycle(config.model), config.model.context_length + 1)
    return (
        "model.attention",
        bool(hidden[1:].any()),
        f"attention that hides at least one token of a context of {config.model.context_length} "
        "from all earlier ones, so that there is a token to predict",
    )


def has_room_for_answers(config: ExperimentConfig, name: str, section: Lengths) -> Iterator[Check]:
    """A context holds a prompt and an answer, and what `whole_rows` says."""
    length = config.model.context_length
    yield (
        f"{name}.max_answer_tokens",
        section.max_prompt_tokens + section.max_answer_tokens <= length,
        f"at most {length - section.max_prompt_tokens}: context_length = {length} minus "
        f"max_prompt_tokens = {section.max_prompt_tokens}",
    )
    yield from whole_rows(config)


def whole_rows(config: ExperimentConfig) -> Iterator[Check]:
    """Rows are whole on each device, and layers have no statistics."""
    fits = config.parallelism.sequence == 1
    yield "parallelism.sequence", fits, f"1 for the kind of run {config.kind}"
    fits = config.training.statistics_every is None
    yield "training.statistics_every", fits, f"none for the kind of run {config.kind}"


def saves_what_is_judged(config: ExperimentConfig, way_out: str = "") -> Check:
    """Checkpoints and evaluations coincide, so that the best can be taken; see `Kind.best`."""
    saved, judged = config.checkpoint.every_steps, config.training.eval_every
    return (
        "checkpoint.every_steps",
        saved % judged == 0 or judged % saved == 0,
        f"a multiple or a divisor of training.eval_every = {judged}, so that what is judged is "
        f"saved{way_out}",
    )
