"""One run of a model, from its configuration to its result: what binaries train with.

outcome = pretrain("demo", config, WorkDirectory("runs/demo"))
outcome = train("chats", config, WorkDirectory("runs/chats"), fine_tuning)
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
from absl import logging
from jax.sharding import Mesh

from experiments import sources
from experiments.initial_params import find_origin, initial_params
from experiments.objectives import build_model, init_params, training_loss
from experiments.step_costs import costs_of
from experiments.workdir import WorkDirectory
from gptjax.config import Config, ExperimentConfig, batch_schedule
from gptjax.data.loader import Share
from gptjax.data.shards import Batch
from gptjax.data.skipping import Ranges, skip_steps
from gptjax.settings import fields
from gptjax.tokenization import Tokenizer
from gptjax.training import metrics, optimizers, partitioning
from gptjax.training.evaluation import Evaluator, language_model_evaluator
from gptjax.training.gradients import gradient_sums, on_each_device
from gptjax.training.loop import Outcome, fit, make_train_step
from gptjax.training.processes import check_alike
from gptjax.training.spikes import NotFiniteError, guarded
from gptjax.training.start import begin, start
from gptjax.training.state import TrainState, create, rng
from gptjax.training.statistics import layer_statistics
from gptjax.training.throughput import Throughput, matmul_peak_flops


class Ended(Protocol):
    """How a run ended: `loop.Outcome`, or that of a loop of its own."""

    @property
    def state(self) -> TrainState: ...
    @property
    def steps(self) -> int: ...
    @property
    def interrupted_by(self) -> str | None: ...


class Program:
    """What a resolved configuration computes, before anything is read or computed.

    Attributes:
      mesh: where state and batches live.
      model: of the configuration, with what the mesh asks of it.
      loss: of training and of evaluation.
      tx: the optimizer.
      target: the shapes of the state's arrays, and where each lives.
      train_step: jitted `(state, batch) -> (state, metrics)`; it donates the state.
      statistics: jitted `(state, batch) -> ` sizes of each layer's gradient and output.
    """

    def __init__(self, config: ExperimentConfig, mesh: Mesh | None = None):
        """`mesh`: by default what `config.parallelism` says of all devices.

        Raises:
          ValueError: batches or parameters do not divide over the mesh.
        """
        self._config, training, optimizer = config, config.training, config.optimizer
        self.mesh = partitioning.make_mesh(config.parallelism) if mesh is None else mesh
        partitioning.check_divides(config, self.mesh)
        self.model = build_model(config, **partitioning.model_attributes(config, self.mesh))
        self.loss = training_loss(config, self.model)
        schedule = optimizers.learning_rate(optimizer, batch_schedule(config))
        self.tx = guarded(optimizers.make_optimizer(optimizer, schedule), training.skip_grad_norm)
        self.target = partitioning.placed(jax.eval_shape(self.fresh), self.mesh)
        sums = gradient_sums(self.loss, training.accumulate)
        if config.parallelism.strategy == "pmap":
            sums = on_each_device(sums, self.mesh)
        self.statistics = layer_statistics(sums, self.model, training.seed, self.mesh)
        self.train_step = make_train_step(
            sums,
            self.tx,
            schedule,
            training.seed,
            optimizer.ema_decay,
            jax.tree.map(lambda leaf: leaf.sharding, self.target),
        )

    def fresh(self, params: Any = None) -> TrainState:
        """The state before the first step, of `params` or else of random parameters."""
        if params is None:
            params = init_params(self._config, rng(self._config.training.seed, "params"))
        return create(params, self.tx, with_ema=self._config.optimizer.ema_decay is not None)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a run learns from: all in which pretraining and what comes after it differ.

    Attributes:
      config: resolved, with what follows from the data.
      tokenizer: kept in the work directory.
      hashes: of all that is read, by name; a run goes on with the same alone.
      batches: makes, of a step, the ranges of skipped examples and a share of the rows, the
        batches of that step and of every later one.
      evaluators: makes, of the program, what judges parameters, by split; "validation", the last,
        decides which checkpoint is the best.
      figures: makes, of the program, the judged parameters and the directory of a run that has
        ended, what its result says besides; JSON values.
      tokens_a_row: of a batch that are computed; None: a context length.
      ready: told of the program and the directory before the first batch, of every start.
    """

    config: ExperimentConfig
    tokenizer: Tokenizer
    hashes: dict[str, str]
    batches: Callable[[int, Ranges, Share], Iterator[Batch]]
    evaluators: Callable[[Program], Mapping[str, Evaluator]]
    figures: Callable[[Program, Any, WorkDirectory], dict[str, Any]] = lambda *_: {}
    tokens_a_row: int | None = None
    ready: Callable[[Program, WorkDirectory], None] = lambda *_: None


def pretrain(
    experiment: str,
    config: ExperimentConfig,
    workdir: WorkDirectory,
    restore_step: int | None = None,
) -> Outcome:
    """Runs a resolved `config` of a language model on its corpus; see `train`."""
    return train(experiment, config, workdir, language_modelling, restore_step)


def language_modelling(config: ExperimentConfig) -> Task:
    """Learning from a corpus.

    Raises:
      ValueError: what the configuration names cannot be had.
    """
    tokenizer = sources.load_model_tokenizer(config)
    prepared = sources.prepare_corpus(config, tokenizer)

    def batches(step: int, skipped: Ranges, share: Share) -> Iterator[Batch]:
        return sources.training_batches(config, prepared.train, step, skipped, share)

    def evaluators(program: Program) -> dict[str, Evaluator]:
        share = partitioning.batch_share(program.mesh)
        evaluate = language_model_evaluator(
            program.loss,
            sources.validation_batches(config, prepared.validation, share),
            prepared.validation.bytes_per_target,
            program.mesh,
        )
        return {"validation": evaluate}

    return Task(config, tokenizer, prepared.hashes, batches, evaluators)


def train(
    experiment: str,
    config: Config,
    workdir: WorkDirectory,
    prepare: Callable[[Config], Task],
    restore_step: int | None = None,
) -> Outcome:
    """Runs a resolved `config` in `workdir` to its end, or until a signal.

    Args:
      experiment: the name the configuration was made from, or what the run is called.
      config: resolved.
      workdir: new, or of this run, which then goes on from its newest checkpoint.
      prepare: reads what such a run learns from.
      restore_step: the checkpoint to go on from instead.

    Raises:
      ValueError: another run is in `workdir`, or what the configuration names cannot be had.
    """
    began = time.monotonic()
    given = {f"config.{path}": value for path, value in fields(config).items()}
    check_alike({"--experiment": experiment, "--restore_step": restore_step} | given)
    task = prepare(config)
    workdir.begin(experiment, task.config, task.hashes, lambda: find_origin(task.config))
    workdir.keep_tokenizer(task.tokenizer)

    program = Program(task.config)
    outcome = _train(program, task, workdir, restore_step)
    if outcome.interrupted_by is not None or (outcome.steps == 0 and workdir.has_result()):
        return outcome
    figures = task.figures(program, outcome.state.judged, workdir)
    if jax.process_index() == 0:
        rows = workdir.path / "metrics.jsonl"
        metrics.plot_loss(rows, workdir.path / "loss.png", experiment)
        workdir.write_result(
            {
                "experiment": experiment,
                "parameters": costs_of(task.config).parameters,
                **metrics.read_metrics(rows)[-1],
                **figures,
                "seconds": time.monotonic() - began,
                "data_wait_fraction": outcome.data_wait_fraction,
            }
        )
    return outcome


def _train(
    program: Program,
    task: Task,
    workdir: WorkDirectory,
    restore_step: int | None,
) -> Outcome:
    """Trains from the newest checkpoint, and again from one before where steps are not finite."""
    config, share = task.config, partitioning.batch_share(program.mesh)
    training = config.training
    evaluators = task.evaluators(program)
    peak = matmul_peak_flops(config.model.dtype) * partitioning.num_chips(program.mesh)
    row_tokens = task.tokens_a_row or config.model.context_length
    costs = costs_of(config)
    with (
        workdir.checkpoints() as checkpoints,
        metrics.MetricsWriter(workdir.path, last_good_step=checkpoints.latest_step) as writer,
        metrics.Progress(training.num_steps) as progress,
    ):
        checkpoints.claim()
        task.ready(program, workdir)
        skipped: Ranges | None = None
        failed = 0
        while True:
            init_from = initial_params(config, workdir.origin())
            new = functools.partial(begin, program.fresh, program.target, init_from)
            state, data = start(new, program.target, checkpoints, restore_step=restore_step)
            if skipped is None:
                skipped = tuple((a, b) for a, b in data.get("skipped_examples", ()))
            writer.truncate_after(int(state.step))
            workdir.drop_result_of_another_step(int(state.step))
            batches = task.batches(int(state.step), skipped, share)
            try:
                return fit(
                    state,
                    program.train_step,
                    batches,
                    config,
                    mesh=program.mesh,
                    evaluators=evaluators,
                    checkpoints=checkpoints,
                    data_record=task.hashes | {"skipped_examples": skipped},
                    writer=writer,
                    progress=progress,
                    throughput=Throughput(
                        costs.flops_per_token,
                        costs.executed_flops_per_token,
                        peak,
                        scale=row_tokens / config.model.context_length,
                    ),
                    statistics=program.statistics,
                    trace_directory=workdir.path / "tensorboard",
                )
            except NotFiniteError as error:
                first, last = error.first_step, error.last_step
                if training.rollback_after is None or first <= failed:
                    raise  # what fails again at the same step would do so for ever
                good = checkpoints.good_before(first)
                checkpoints.remove_after(-1 if good is None else good)
                if training.skip_data:
                    skipped = skip_steps(skipped, batch_schedule(config), first - 1, last)
                failed, restore_step = first, None
                logging.warning(
                    "%s; going back to step %d, skipped examples: %s", error, good or 0, skipped
                )
