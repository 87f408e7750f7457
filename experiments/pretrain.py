"""Trains a language model: any experiment of the registry, from scratch or where it stopped.

python -m experiments.pretrain --experiment=gpt2_smoke --workdir=runs/gpt2_smoke
python -m experiments.pretrain --experiment=demo --workdir=runs/wide --config.model.d_model=512
python -m experiments.pretrain --experiment=gpt2_xl --dry_run --device_memory_gib=80
"""

import json
from collections.abc import Sequence

from absl import flags

from experiments.binary import run
from experiments.dry_run import dry_run, table
from experiments.processes import connect
from experiments.training_run import how_it_ended, pretrain
from experiments.workdir import WorkDirectory, enable_compilation_cache
from gptjax.config import resolve

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


def main(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    connect()
    enable_compilation_cache()
    config = resolve(FLAGS.config)
    if _DRY_RUN.value:
        figures = dry_run(config, _DEVICE_MEMORY_GIB.value)
        print("\n".join(table(figures)))
        print(json.dumps({"experiment": FLAGS.experiment, **figures}))
        return
    workdir = WorkDirectory(_WORKDIR.value)
    outcome = pretrain(FLAGS.experiment, config, workdir, _RESTORE_STEP.value)
    print(how_it_ended(outcome, workdir))


if __name__ == "__main__":
    run(main, with_experiment=True)
