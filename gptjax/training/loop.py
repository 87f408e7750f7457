"""The one supervised loop: what differs between tasks is the loss function and the data.

outcome = fit(state, train_step, batches, config, io, evaluators=evaluators, ...)
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.models.adapters import Base
from gptjax.settings import to_dict
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.evaluation import Evaluator
from gptjax.training.gradients import GradientSums
from gptjax.training.interruption import Interruption
from gptjax.training.losses import Batch
from gptjax.training.optimizers import Optimizer, Schedule, update
from gptjax.training.partitioning import put_batch
from gptjax.training.reporting.metrics import MetricsWriter
from gptjax.training.reporting.profile import Trace
from gptjax.training.reporting.progress import Progress
from gptjax.training.reporting.statistics import Statistics
from gptjax.training.reporting.throughput import Throughput
from gptjax.training.spikes import NotFiniteError, counts
from gptjax.training.state import TrainState, averaged, rng

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_train_step(
    sums: GradientSums,
    tx: Optimizer,
    schedule: Schedule,
    ema_decay: float | None = None,
    sharding: TrainState | None = None,
) -> jax.stages.Wrapped:
    """The jitted pure step `(state, batch, seed, base) -> (state, metrics)`; it donates the state.

    `seed` is the run's: an argument, so that runs that differ in it share a compiled program.
    `base` is what adapters stand beside, see `models.adapters`; None, the default, without LoRA.

    Args:
      sums: from `gradient_sums`, of the loss.
      tx: the optimizer.
      schedule: its learning rate, for the metrics.
      ema_decay: of the average of the parameters; None where the state has none.
      sharding: where each leaf of the state lives; None leaves that to the compiler.
    """

    def train_step(state: TrainState, batch: Batch, seed: jax.Array, base: Base | None = None):
        dropout = jax.random.fold_in(rng(seed, "dropout"), state.step)
        (total, weight, others), grads = sums(state.params, batch, dropout, base)
        per = jnp.where(weight > 0.0, weight, 1.0)  # a batch without targets changes nothing
        loss, metrics, grads = jax.tree.map(lambda x: x / per, (total, others, grads))
        params, opt_state = update(tx, grads, state.opt_state, state.params, loss)
        ema = averaged(state.ema, params, ema_decay)
        metrics |= {
            "loss": loss,
            "learning_rate": schedule(state.step),
            "grad_norm": optax.tree.norm(grads),
            **counts(opt_state),
        }
        return TrainState(state.step + 1, params, opt_state, ema), metrics

    return jax.jit(train_step, donate_argnums=0, out_shardings=(sharding, None))


@dataclasses.dataclass
class Outcome:
    """End of a run: its last state, its evaluation, and why it stopped."""

    state: TrainState
    steps: int  # taken by this start of the run
    evaluation: dict[str, dict[str, float]]  # evaluator name -> its last metrics
    interrupted_by: str | None  # the signal's name
    data_wait_fraction: float  # of the time between batches

    @property
    def figures(self) -> dict[str, float]:
        """Figures of this start for the run's result."""
        return {"data_wait_fraction": self.data_wait_fraction}


@dataclasses.dataclass(frozen=True)
class RunIO:
    """Outputs of a run: checkpoints, metrics, progress and traces.

    Attributes:
      checkpoints: where states are saved.
      writer: takes rows of figures.
      progress: shows them to a person.
      data_record: kept in each checkpoint: what the data order was made from; the ranges of its
        `skipped_examples`, where there are any, are in each training row too.
      trace_directory: where `config.profile` has its trace written.
      redraw: draws the rows there are by now, after each evaluation.
    """

    checkpoints: Checkpoints
    writer: MetricsWriter
    progress: Progress
    data_record: dict[str, Any]
    trace_directory: Path
    redraw: Callable[[], None] = lambda: None

    def save(
        self,
        step: int,
        state: TrainState,
        config: ExperimentConfig,
        metrics: Any = None,
        tokens: int | None = None,
    ) -> None:
        """Saves the state after `step`, with the `metrics` of its validation, if it had one.

        `tokens` are those by then, where the step does not give their number.
        """
        self.checkpoints.save(
            step,
            params=state.params,
            opt_state=state.opt_state,
            ema=state.ema,
            data=self.data_record
            | {"seconds": self.writer.seconds}
            | ({} if tokens is None else {"tokens": tokens}),
            config=to_dict(config),
            metrics=metrics,
        )


def _check_finite(row: Mapping[str, Any], checkpoints: Checkpoints, steps: int = 1) -> None:
    """Refuses a row whose loss or gradient norm is not finite, for `steps` steps in a row."""
    for name in ("loss", "grad_norm"):
        value = row.get(name, 0.0)
        if not math.isfinite(value):
            checkpoints.wait()
            good = checkpoints.latest_step()
            last = "there is no checkpoint yet" if good is None else f"last good checkpoint: {good}"
            where = f"{row['split']} {name}" if "split" in row else name
            message = (
                f"step {row['step']}: {where} is {value}, expected a finite number; {last} "
                f"(in {checkpoints.directory})"
            )
            if "split" in row:
                raise ValueError(message)
            raise NotFiniteError(message, row["step"] - steps + 1, row["step"])


def fit(
    state: TrainState,
    train_step: Step,
    batches: Iterator[Mapping[str, np.ndarray]],
    config: ExperimentConfig,
    io: RunIO,
    *,
    mesh: Mesh,
    evaluators: Mapping[str, Evaluator],
    throughput: Throughput,
    statistics: Statistics,
    show: Callable[[int, Any], None] = lambda step, params: None,
) -> Outcome:
    """Trains from `state.step` to `config.training.num_steps`.

    The metrics of a step are fetched while the next one runs. SIGTERM and SIGINT end the run
    after the step at hand, with a checkpoint.

    Args:
      state: where to start; donated.
      train_step: from `make_train_step`, with the run's seed and base.
      batches: one batch a step, from that of `state.step` on.
      config: resolved.
      io: has a row every `log_every` steps and after each evaluation.
      mesh: where batches go.
      evaluators: by the name of the split they judge; "validation" decides the best checkpoint.
      throughput: tokens/s and MFU.
      statistics: of layers, asked for every `statistics_every` steps.
      show: called after each evaluation with its step and parameters, to show what they can do.

    Raises:
      NotFiniteError: a loss or gradient norm is not finite, for `training.rollback_after` steps in
        a row or else for one (names the step, the metric, and the last good checkpoint).
      ValueError: a loss of an evaluation is not finite, or a disk is full. Nothing of that step is
        saved.
    """
    training, total = config.training, config.training.num_steps
    schedule = batch_schedule(config)
    first = done = int(state.step)
    evaluation: dict[str, dict[str, float]] = {}
    evaluated = saved = first
    waited = running = 0.0
    pending: tuple[int, dict[str, jax.Array]] | None = None

    def settle() -> None:
        """Fetches the metrics of the newest step, checks them, and reports them."""
        nonlocal pending
        if pending is None:
            return
        (step, metrics), pending = pending, None
        row = {"step": step} | {name: x.item() for name, x in jax.device_get(metrics).items()}
        steps = row.pop("nonfinite_steps", 1)
        if steps >= (training.rollback_after or 1):
            _check_finite(row, io.checkpoints, steps)
        throughput.add(schedule.tokens(step) - schedule.tokens(step - 1))
        row["tokens"] = throughput.computed(schedule.tokens(step))
        if step % training.log_every == 0 or step == total:
            if io.data_record.get("skipped_examples"):
                row["skipped_examples"] = io.data_record["skipped_examples"]
            row |= throughput.take()
            io.writer.write(row)
            io.progress.update(row)
        if step == first + 1:
            throughput.restart()  # this one compiled

    def evaluate() -> None:
        for split, evaluator in evaluators.items():
            evaluation[split] = evaluator(state.eval_params)
            row = {"step": done, "split": split, **evaluation[split]}
            _check_finite(row, io.checkpoints)
            io.writer.write(row | {"tokens": throughput.computed(schedule.tokens(done))})
            io.progress.evaluation(row)
        show(done, state.eval_params)
        io.redraw()

    def save() -> None:
        io.save(done, state, config, evaluation.get("validation") if evaluated == done else None)

    with Interruption() as interruption, Trace(config.profile, first, io.trace_directory) as trace:
        while done < total and not interruption.requested(done):
            began = time.monotonic()
            batch = put_batch(next(batches), mesh)
            waited += time.monotonic() - began
            if training.statistics_every and (done + 1) % training.statistics_every == 0:
                settle()
                sizes = jax.device_get(statistics(state, batch))
                io.writer.write({"step": done + 1, "split": "layers", **sizes})
                throughput.restart()
            trace.before_step(done, state)
            compiling = io.progress.phase("compiling") if done == first else nullcontext()
            with compiling, jax.profiler.StepTraceAnnotation("train", step_num=done):
                state, metrics = train_step(state, batch)
            settle()
            done += 1
            pending = (done, metrics)
            running += time.monotonic() - began

            due_evaluation = done % training.eval_every == 0 or done == total
            due_save = done % config.checkpoint.every_steps == 0 or done == total
            if due_evaluation or due_save:
                settle()
                if due_evaluation:
                    evaluated = done
                    evaluate()
                if due_save:
                    saved = done
                    save()
                throughput.restart()
        settle()
        if saved < done:
            save()
        io.checkpoints.wait()
    wait_fraction = waited / max(running, 1e-9)
    return Outcome(state, done - first, evaluation, interruption.name, wait_fraction)
