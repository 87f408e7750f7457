"""Training task of a supervised run: batches, evaluators and hashes of its inputs.

task = kind_of(config).prepare(config)
batches = task.batches(0, (), ALL)
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gptjax.batch_schedule import BatchShare
from gptjax.config import Config, ExperimentConfig, TrainingConfig, batch_schedule, check_warmup
from gptjax.data.batches.ledger import Passage
from gptjax.data.batches.shards import HostBatch
from gptjax.data.batches.skipping import Ranges
from gptjax.runs.program import Program
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import Tokenizer
from gptjax.training.evaluation import Evaluator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """Inputs and evaluators of a supervised run.

    Attributes:
      config: resolved, with what follows from the data.
      tokenizer: kept in the work directory.
      hashes: of all that is read, by name; a run goes on with the same alone.
      batches: makes, of a step, the ranges of skipped examples and a share of the rows, the
        batches of that step and of every later one.
      evaluators: makes, of the program, what judges parameters, by split; "validation", the last,
        decides which checkpoint is the best.
      final_metrics: makes, of the program, the evaluation parameters and the directory of a run
        that has ended, the other figures of its result; JSON values.
      tokens_a_row: of a batch that are computed; None: a context length.
      on_start: told of the program and the directory before the first batch, of every start.
      examples: makes the first rows that are trained on, as a person reads them; takes whether to
        add a terminal's colours.
      passages: makes, of a step (from 1) and the ranges of skipped examples, the documents that it
        trains on, and their names by number.
    """

    config: ExperimentConfig
    tokenizer: Tokenizer
    hashes: dict[str, str]
    batches: Callable[[int, Ranges, BatchShare], Iterator[HostBatch]]
    evaluators: Callable[[Program], Mapping[str, Evaluator]]
    final_metrics: Callable[[Program, Any, WorkDirectory], dict[str, Any]] = lambda *_: {}
    tokens_a_row: int | None = None
    on_start: Callable[[Program, WorkDirectory], None] = lambda *_: None
    examples: Callable[[bool], Iterator[str]] | None = None
    passages: Callable[[int, Ranges], tuple[list[Passage], dict[int, str]]] | None = None


def with_examples(config: Config, examples: float) -> Config:
    """A resolved `config` with the fewest steps that take so many examples.

    The learning rate decays over all of them unless `config` says how long it does.

    Raises:
      ValueError: it says another number of steps besides, or a warm-up as long.
    """
    config = copy.deepcopy(config)
    training, optimizer = config.training, config.optimizer
    tokens = math.ceil(examples) * config.model.tokens_per_row
    num_steps = batch_schedule(config).steps_for(tokens)
    if training.num_steps not in (num_steps, TrainingConfig().num_steps):
        raise ValueError(
            f"config.training.num_steps: got {training.num_steps} with epochs, which take "
            f"{num_steps} steps, expected one of the two (epochs=none lets num_steps decide)"
        )
    if optimizer.decay_steps is None and optimizer.decay_tokens is None:
        optimizer.decay_steps = num_steps
    training.num_steps = num_steps
    check_warmup(config)
    return config
