"""Flags of training, and the run that they describe.

train_as_flags_say()   # in `main`, where --experiment names one
"""

import itertools
import sys
from typing import Any

from absl import flags

from experiments.flags.dry_run import dry_run_as_flags_say, is_dry_run
from experiments.flags.paths import define_path
from experiments.flags.processes import connect
from gptjax.config import ExperimentConfig, resolve
from gptjax.interrupted import Interrupted
from gptjax.runs.caches import enable_compilation_cache
from gptjax.training.reporting.trackers import load_trackers

FLAGS = flags.FLAGS
_WORKDIR = define_path(
    "workdir",
    None,
    "Work directory of the run. The same command resumes there. It must be given to train.",
)
_RESTORE_STEP = flags.DEFINE_integer(
    "restore_step",
    None,
    "Step of the checkpoint to resume from, once. Later checkpoints are removed.",
    lower_bound=0,
)
_SHOW_EXAMPLES = flags.DEFINE_integer(
    "show_examples",
    None,
    "Number of training rows to print, with + before what is learned. Nothing is trained.",
    lower_bound=1,
)
_TRACKER = flags.DEFINE_list(
    "tracker",
    "tensorboard",
    "What is told the figures: tensorboard, wandb, mlflow, python:MODULE:CLASS, several joined by "
    "commas, or none.",
)


def train_as_flags_say() -> None:
    """Runs --experiment in --workdir and says how it ended; or what it would take, or learn from.

    Raises:
      ValueError: what the run, its kind or `dry_run` refuses, or processes that do not meet.
      Interrupted: a signal ended the run.
    """
    from gptjax.runs.kind import kind_of
    from gptjax.runs.train import train
    from gptjax.runs.workdir import WorkDirectory

    config = config_of_flags()
    if _SHOW_EXAMPLES.value is not None:
        _show_examples(config, _SHOW_EXAMPLES.value)
        return
    if is_dry_run():
        dry_run_as_flags_say(config)
        return
    trackers = load_trackers([name for name in _TRACKER.value if name != "none"])
    workdir = WorkDirectory(_WORKDIR.value)
    connect(lambda: config.parallelism)
    enable_compilation_cache()
    ended = train(FLAGS.experiment, config, workdir, _RESTORE_STEP.value, trackers)
    step = int(ended.state.step)
    if ended.interrupted_by is not None:
        raise Interrupted(ended.interrupted_by, f"stopped at step {step}")
    picture = kind_of(config).picture
    print(f"step {step}: {workdir.path}/result.json, {picture} and checkpoints are written")


def _show_examples(config: ExperimentConfig, count: int) -> None:
    from gptjax.runs.kind import kind_of

    kind = kind_of(config)
    if not kind.shows_examples:
        raise ValueError(
            f"--show_examples: got {count} for a run of kind {kind.name}, expected a kind whose "
            "rows can be shown, such as sft"
        )
    kind.check(config)
    task: Any = kind.prepare(config)
    for text in itertools.islice(task.examples(sys.stdout.isatty()), count):
        print(text)


def config_of_flags() -> ExperimentConfig:
    """--experiment's configuration with its overrides, resolved.

    Raises:
      ValueError: fields that contradict each other; both steps and epochs.
    """
    config: ExperimentConfig = resolve(FLAGS.config)
    if config.epochs_field and "config.training.num_steps" in FLAGS:
        raise ValueError(
            f"--config.training.num_steps: got {config.training.num_steps} with epochs, which "
            f"decide the steps, expected one of the two (--config.{config.epochs_field}=none lets "
            "num_steps decide)"
        )
    return config
