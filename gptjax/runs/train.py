"""The life of a run, from its configuration to its result: the same for every kind.

ended = train("demo", config, WorkDirectory("runs/demo"))
"""

import dataclasses
import functools
import time
from collections.abc import Sequence

import jax
from absl import logging

from gptjax.attention.device import compiling_for
from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.skipping import Ranges, skip_steps
from gptjax.runs.header import header_lines
from gptjax.runs.initial.params import find_initial_checkpoint
from gptjax.runs.kind import kind_of
from gptjax.runs.learner import Ended, Learner
from gptjax.runs.life.restarts import checked_restart, keep_lost_rows, record_going_back
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import fields
from gptjax.training.checkpoints.start import start
from gptjax.training.loop import RunIO
from gptjax.training.partitioning import device_of, make_mesh
from gptjax.training.processes import check_alike, on_first
from gptjax.training.reporting.curves import Picture
from gptjax.training.reporting.metrics import MetricsWriter, read_metrics
from gptjax.training.reporting.progress import Progress, phase
from gptjax.training.reporting.trackers import (
    MakeTracker,
    TrackedRun,
    Tracker,
    tensorboard,
)
from gptjax.training.spikes import NotFiniteError

FEW_STEPS = 50  # epochs that make fewer are seldom meant


def train(
    experiment: str,
    config: ExperimentConfig,
    workdir: WorkDirectory,
    restore_step: int | None = None,
    trackers: Sequence[MakeTracker] = (tensorboard,),
) -> Ended:
    """Runs a resolved `config` in `workdir` to its end, or until a signal.

    Args:
      experiment: name of the experiment, or another name for the run.
      config: resolved; of any kind.
      workdir: new, or of this run, which then goes on from its newest checkpoint.
      restore_step: the checkpoint to go on from instead; later ones are removed.
      trackers: makes the trackers that get the figures of the run; see `load_trackers`.

    Raises:
      ValueError: `workdir` holds another run or is in use, data that the configuration names cannot
        be read, the kind of run refuses the configuration, or a tracker cannot start.
    """
    given = {f"config.{path}": value for path, value in fields(config).items()}
    check_alike({"--experiment": experiment, "--restore_step": restore_step} | given)
    kind_of(config).check(config)
    device = device_of(make_mesh(config.parallelism))
    with workdir.claimed(), compiling_for(device):
        restore_step = on_first(lambda: checked_restart(workdir, restore_step))
        return _trained(experiment, config, workdir, restore_step, trackers)


def _trained(
    experiment: str,
    config: ExperimentConfig,
    workdir: WorkDirectory,
    restore_step: int | None,
    trackers: Sequence[MakeTracker],
) -> Ended:
    """Trains as `train` does, in a directory that is claimed."""
    began, kind = time.monotonic(), kind_of(config)
    with phase("tokenising"):
        prepared = kind.prepare(config)
    config, hashes = prepared.config, prepared.hashes
    if config.epochs_field and config.training.num_steps < FEW_STEPS:
        logging.warning(
            "%s makes a run of only %d steps: more epochs, or a --config.training.batch_size below "
            "%d, make more",
            f"--config.{config.epochs_field}",
            config.training.num_steps,
            config.training.batch_size,
        )
    workdir.begin(experiment, config, hashes, lambda: find_initial_checkpoint(config), restore_step)
    workdir.keep_tokenizer(prepared.tokenizer)
    learner = kind.learner(prepared, workdir)
    rows = workdir.path / "metrics.jsonl"
    picture = Picture(rows, workdir.path / kind.picture, experiment, kind.curves)

    def make_trackers(first_step: int) -> list[Tracker]:
        run = TrackedRun(workdir.path, experiment, fields(config), first_step)
        return [make(run) for make in trackers]

    with (
        workdir.checkpoints() as checkpoints,
        MetricsWriter(
            workdir.path,
            last_good_step=checkpoints.latest_step,
            trackers=make_trackers,
            began=began,
        ) as writer,
        Progress(config.training.num_steps) as progress,
    ):
        redraw = picture.redraw if jax.process_index() == 0 else lambda: None
        io = RunIO(checkpoints, writer, progress, {}, workdir.path / "tensorboard", redraw)
        ended = _learned(experiment, learner, config, hashes, workdir, restore_step, io)
    if ended.interrupted_by is not None or (ended.steps == 0 and workdir.has_result()):
        return ended
    figures = learner.final_metrics(ended.state.eval_params)
    if jax.process_index() == 0:
        picture.draw()
        workdir.write_result(
            {
                "experiment": experiment,
                "parameters": kind.costs(config).parameters,
                **read_metrics(rows)[-1],
                **figures,
                "seconds": writer.seconds,
                **ended.figures,
            }
        )
    return ended


def _learned(
    experiment: str,
    learner: Learner,
    config: ExperimentConfig,
    hashes: dict[str, str],
    workdir: WorkDirectory,
    restore_step: int | None,
    io: RunIO,
) -> Ended:
    """Learns from the newest checkpoint on, and again from an earlier one where steps fail."""
    training, checkpoints = config.training, io.checkpoints
    checkpoints.acquire_lock()
    if on_first(checkpoints.latest_step) is None:
        on_first(lambda: keep_lost_rows(workdir.path))
    learner.on_start()
    skipped: Ranges | None = None
    failed = 0
    while True:
        state, data = start(
            learner.initial_state, learner.target, checkpoints, restore_step=restore_step
        )
        if restore_step is not None:
            on_first(functools.partial(record_going_back, workdir.path, restore_step))
        step = int(state.step)
        if skipped is None:
            skipped = tuple((a, b) for a, b in data.get("skipped_examples", ()))
            io.progress.say(*header_lines(experiment, config, learner, workdir.path, step))
        seconds = data.get("seconds", 0.0)
        on_first(functools.partial(io.writer.truncate_after, step, seconds))
        workdir.drop_result_of_another_step(step)
        record = hashes | {"skipped_examples": skipped}
        if "tokens" in data:
            record["tokens"] = data["tokens"]
        try:
            return learner.learn(state, dataclasses.replace(io, data_record=record))
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
