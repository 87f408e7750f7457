"""Flags of binaries that train, and a run as they say.

train_as_flags_say(fine_tuning)   # in `main`, where --experiment has one of its kind
"""

import json
from collections.abc import Callable
from typing import Any

from absl import flags

from experiments.dry_run import dry_run, table
from experiments.processes import connect
from experiments.training_run import Ended, Task, train
from experiments.workdir import WorkDirectory, enable_compilation_cache
from gptjax.config import ExperimentConfig, resolve

FLAGS = flags.FLAGS
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; it resumes there.")
_RESTORE_STEP = flags.DEFINE_integer(
    "restore_step", None, "Resumes from this checkpoint and removes later ones.", lower_bound=0
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Says what the run would take, on any mesh, and starts nothing."
)
_DEVICE_MEMORY_GIB = flags.DEFINE_float(
    "device_memory_gib", None, "With --dry_run: what to compare with.", lower_bound=0.0
)


def train_as_flags_say(prepare: Callable[[Any], Task]) -> None:
    """Trains as `run_as_flags_say` has it; `prepare` is that of `train`."""

    def run(experiment: str, config: Any, workdir: WorkDirectory, step: int | None) -> Ended:
        return train(experiment, config, workdir, prepare, step)

    run_as_flags_say(run)


def run_as_flags_say(run: Callable[[str, Any, WorkDirectory, int | None], Ended]) -> None:
    """Runs --experiment in --workdir and says how it ended, or, with --dry_run, what it would take.

    Args:
      run: takes the experiment's name, the resolved configuration, the directory and
        --restore_step.

    Raises:
      ValueError: what `run` or `dry_run` refuses, or processes that do not meet.
    """
    connect()
    config = config_of_flags()
    if _DRY_RUN.value:
        figures = dry_run(config, _DEVICE_MEMORY_GIB.value)
        print("\n".join(table(figures)))
        print(json.dumps({"experiment": FLAGS.experiment, **figures}))
        return
    enable_compilation_cache()
    workdir = WorkDirectory(_WORKDIR.value)
    outcome = run(FLAGS.experiment, config, workdir, _RESTORE_STEP.value)
    step = int(outcome.state.step)
    if outcome.interrupted_by is None:
        picture = " loss.png" if (workdir.path / "loss.png").exists() else " samples"
        print(f"step {step}: {workdir.path}/result.json,{picture} and checkpoints are written")
    else:
        print(f"{outcome.interrupted_by}: stopped at step {step}; the same command goes on there")


def config_of_flags() -> Any:
    """--experiment's configuration with its overrides, resolved.

    Raises:
      ValueError: fields that contradict each other; both steps and epochs.
    """
    config: ExperimentConfig = resolve(FLAGS.config)
    if config.counts_epochs and "config.training.num_steps" in FLAGS:
        raise ValueError(
            f"--config.training.num_steps: got {config.training.num_steps} with epochs, which "
            "decide the steps, expected one of the two (epochs=none lets num_steps decide)"
        )
    return config
