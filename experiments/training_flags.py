"""Flags of binaries that train, and a run as they say.

train_as_flags_say(fine_tuning)   # in `main`, where --experiment has one of its kind
"""

from collections.abc import Callable
from typing import Any

from absl import flags

from experiments.processes import connect
from experiments.training_run import Task, how_it_ended, train
from experiments.workdir import WorkDirectory, enable_compilation_cache
from gptjax.config import resolve

FLAGS = flags.FLAGS
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; it resumes there.")
_RESTORE_STEP = flags.DEFINE_integer(
    "restore_step", None, "Resumes from this checkpoint and removes later ones.", lower_bound=0
)


def train_as_flags_say(prepare: Callable[[Any], Task]) -> None:
    """Runs --experiment in --workdir, and says how it ended; `prepare` is that of `train`.

    Raises:
      ValueError: what `train` refuses, or processes that do not meet.
    """
    connect()
    enable_compilation_cache()
    workdir, config = WorkDirectory(_WORKDIR.value), resolve(FLAGS.config)
    outcome = train(FLAGS.experiment, config, workdir, prepare, _RESTORE_STEP.value)
    print(how_it_ended(outcome, workdir))
