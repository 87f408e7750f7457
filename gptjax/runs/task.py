"""Training task of a supervised run: batches, evaluators and hashes of its inputs.

task = kind_of(config).prepare(config)
batches = task.batches(0, (), ALL)
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gptjax.batch_schedule import BatchShare
from gptjax.config import Config, ExperimentConfig, TrainingConfig, batch_schedule, check_warmup
from gptjax.data.batches.ledger import Passage
from gptjax.data.batches.skipping import Ranges
from gptjax.data.batches.token_stream import HostBatch
from gptjax.inference.samples import SamplePrompt
from gptjax.runs.program import Program
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import Tokenizer
from gptjax.training.evaluation import Evaluator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """Inputs and evaluators of a supervised run.

    Attributes:
      config: resolved, with the fields that follow from the data.
      tokenizer: kept in the work directory.
      hashes: content hashes of all data, by name; a run resumes only with the same ones.
      batches: (step, ranges of skipped examples, share of the rows) -> the batches of that step and
        of every later step.
      evaluators: (program) -> the evaluators by split; the last one, "validation", decides which
        checkpoint is the best.
      data: amount of training data, as text for a person.
      prompts: the language model continues the first of them that it can at each evaluation; none:
        it writes no text.
      final_metrics: (program, evaluation parameters, directory) -> further figures of the result of
        an ended run; JSON values.
      tokens_a_row: tokens that are computed for a row of a batch; None: the context length.
      on_start: called with the program and the directory at every start, before the first batch.
      examples: (whether to use a terminal's colours) -> the first training rows as text for a
        person.
      passages: (step from 1, ranges of skipped examples) -> the passages that the step trains on,
        and the names of their documents by number.
    """

    config: ExperimentConfig
    tokenizer: Tokenizer
    hashes: dict[str, str]
    batches: Callable[[int, Ranges, BatchShare], Iterator[HostBatch]]
    evaluators: Callable[[Program], Mapping[str, Evaluator]]
    data: str
    prompts: Sequence[SamplePrompt] = ()
    final_metrics: Callable[[Program, Any, WorkDirectory], dict[str, Any]] = lambda *_: {}
    tokens_a_row: int | None = None
    on_start: Callable[[Program, WorkDirectory], None] = lambda *_: None
    examples: Callable[[bool], Iterator[str]] | None = None
    passages: Callable[[int, Ranges], tuple[list[Passage], dict[int, str]]] | None = None


def with_examples(config: Config, examples: float) -> Config:
    """A resolved `config` with the fewest steps that take so many examples.

    The learning rate decays over all of them unless `config` says how long it does.

    Raises:
      ValueError: `config` also gives another number of steps, or a warm-up as long as the run.
    """
    config = copy.deepcopy(config)
    training, optimizer = config.training, config.optimizer
    tokens = math.ceil(examples) * config.model.tokens_per_row
    num_steps = batch_schedule(config).steps_for(tokens)
    if training.num_steps not in (num_steps, TrainingConfig().num_steps):
        raise ValueError(
            f"config.training.num_steps: got {training.num_steps} with epochs, which take "
            f"{num_steps} steps, expected one of the two (--config.{config.epochs_field}=none lets "
            "num_steps decide)"
        )
    if optimizer.decay_steps is None and optimizer.decay_tokens is None:
        optimizer.decay_steps = num_steps
    training.num_steps = num_steps
    check_warmup(config)
    return config


def with_epochs(
    config: Config, epochs: int | None, warmup_fraction: float, num_examples: int
) -> Config:
    """A resolved `config` with the steps of its epochs, and of its warm-up.

    Args:
      config: as of `with_examples`; one that gives a warm-up keeps it.
      epochs: passes over the examples; None: `training.num_steps` decides.
      warmup_fraction: share of the steps that warm the learning rate up.
      num_examples: how many there are.

    Raises:
      ValueError: as `with_examples`.
    """
    if epochs is not None:
        config = with_examples(config, epochs * num_examples)
    optimizer = config.optimizer
    if not optimizer.warmup_steps and optimizer.warmup_tokens is None:
        warmup = int(warmup_fraction * config.training.num_steps)
        optimizer = dataclasses.replace(optimizer, warmup_steps=warmup)
    return dataclasses.replace(config, optimizer=optimizer)
