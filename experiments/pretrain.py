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
from experiments.training_flags import train_as_flags_say
from experiments.training_run import language_modelling
from gptjax.config import resolve

FLAGS = flags.FLAGS
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Says what the run would take, on any mesh, and starts nothing."
)
_DEVICE_MEMORY_GIB = flags.DEFINE_float(
    "device_memory_gib", None, "With --dry_run: what to compare with.", lower_bound=0.0
)


def main(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    if not _DRY_RUN.value:
        train_as_flags_say(language_modelling)
        return
    connect()
    figures = dry_run(resolve(FLAGS.config), _DEVICE_MEMORY_GIB.value)
    print("\n".join(table(figures)))
    print(json.dumps({"experiment": FLAGS.experiment, **figures}))


if __name__ == "__main__":
    run(main, with_experiment=True)
