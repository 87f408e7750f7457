"""Flags of training, and the run that they describe.

train_as_flags_say()   # in `main`, where --experiment names one
"""

import itertools
import json
import sys
from typing import Any

from absl import flags

from experiments.flags.processes import connect
from gptjax.config import ExperimentConfig, resolve
from gptjax.runs.caches import enable_compilation_cache
from gptjax.runs.dry_run import dry_run, dry_run_lines
from gptjax.runs.kind import kind_of
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory

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
_SHOW_EXAMPLES = flags.DEFINE_integer(
    "show_examples",
    None,
    "Prints so many rows of what is trained on, with + before what is learned, and starts nothing.",
    lower_bound=1,
)


def train_as_flags_say() -> None:
    """Runs --experiment in --workdir and says how it ended; or what it would take, or learn from.

    Raises:
      ValueError: what the run, its kind or `dry_run` refuses, or processes that do not meet.
    """
    connect()
    config = config_of_flags()
    if _SHOW_EXAMPLES.value is not None:
        _show_examples(config, _SHOW_EXAMPLES.value)
        return
    if _DRY_RUN.value:
        figures = dry_run(config, _DEVICE_MEMORY_GIB.value)
        print("\n".join(dry_run_lines(figures)))
        print(json.dumps({"experiment": FLAGS.experiment, **figures}))
        return
    enable_compilation_cache()
    workdir = WorkDirectory(_WORKDIR.value)
    ended = train(FLAGS.experiment, config, workdir, _RESTORE_STEP.value)
    step = int(ended.state.step)
    if ended.interrupted_by is None:
        picture = f"{kind_of(config).curve[0]}.png"
        print(f"step {step}: {workdir.path}/result.json, {picture} and checkpoints are written")
    else:
        print(f"{ended.interrupted_by}: stopped at step {step}; the same command goes on there")


def _show_examples(config: ExperimentConfig, count: int) -> None:
    kind = kind_of(config)
    kind.check(config)
    examples: Any = getattr(kind.prepare(config), "examples", None)
    if examples is None:
        raise ValueError(
            f"--show_examples: got {count} for a run of kind {kind.name}, expected a kind whose "
            "rows can be shown, such as sft"
        )
    for text in itertools.islice(examples(sys.stdout.isatty()), count):
        print(text)


def config_of_flags() -> ExperimentConfig:
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
