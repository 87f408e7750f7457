"""The life of a run, from its configuration to its result: the same for every kind.

ended = train("demo", config, WorkDirectory("runs/demo"))
"""

import dataclasses
import time

import jax
from absl import logging

from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.skipping import Ranges, skip_steps
from gptjax.runs.initial_params import find_initial_checkpoint
from gptjax.runs.kind import Ended, Learner, kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import fields
from gptjax.training.checkpoints.start import start
from gptjax.training.loop import RunIO
from gptjax.training.processes import check_alike
from gptjax.training.reporting import metrics
from gptjax.training.spikes import NotFiniteError


def train(
    experiment: str,
    config: ExperimentConfig,
    workdir: WorkDirectory,
    restore_step: int | None = None,
) -> Ended:
    """Runs a resolved `config` in `workdir` to its end, or until a signal.

    Args:
      experiment: the name the configuration was made from, or what the run is called.
      config: resolved; of any kind.
      workdir: new, or of this run, which then goes on from its newest checkpoint.
      restore_step: the checkpoint to go on from instead; later ones are removed.

    Raises:
      ValueError: another run is in `workdir`, what the configuration names cannot be had, or its
        kind cannot have it.
    """
    began = time.monotonic()
    given = {f"config.{path}": value for path, value in fields(config).items()}
    check_alike({"--experiment": experiment, "--restore_step": restore_step} | given)
    kind = kind_of(config)
    kind.check(config)
    prepared = kind.prepare(config)
    config, hashes = prepared.config, prepared.hashes
    workdir.begin(experiment, config, hashes, lambda: find_initial_checkpoint(config))
    workdir.keep_tokenizer(prepared.tokenizer)
    learner = kind.learner(prepared, workdir)
    ended = _learned(learner, config, hashes, workdir, restore_step)
    if ended.interrupted_by is not None or (ended.steps == 0 and workdir.has_result()):
        return ended
    figures = learner.final_metrics(ended.state.eval_params)
    if jax.process_index() == 0:
        rows = workdir.path / "metrics.jsonl"
        figure, axis = kind.curve
        metrics.plot_curve(rows, workdir.path / f"{figure}.png", experiment, figure, axis)
        workdir.write_result(
            {
                "experiment": experiment,
                "parameters": kind.costs(config).parameters,
                **metrics.read_metrics(rows)[-1],
                **figures,
                "seconds": time.monotonic() - began,
                **ended.figures,
            }
        )
    return ended


def _learned(
    learner: Learner,
    config: ExperimentConfig,
    hashes: dict[str, str],
    workdir: WorkDirectory,
    restore_step: int | None,
) -> Ended:
    """Learns from the newest checkpoint on, and again from an earlier one where steps fail."""
    training = config.training
    with (
        workdir.checkpoints() as checkpoints,
        metrics.MetricsWriter(workdir.path, last_good_step=checkpoints.latest_step) as writer,
        metrics.Progress(training.num_steps) as progress,
    ):
        checkpoints.acquire_lock()
        learner.on_start()
        io = RunIO(checkpoints, writer, progress, {}, workdir.path / "tensorboard")
        skipped: Ranges | None = None
        failed = 0
        while True:
            state, data = start(
                learner.initial_state, learner.target, checkpoints, restore_step=restore_step
            )
            if skipped is None:
                skipped = tuple((a, b) for a, b in data.get("skipped_examples", ()))
            writer.truncate_after(int(state.step))
            workdir.drop_result_of_another_step(int(state.step))
            record = hashes | {"skipped_examples": skipped}
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
