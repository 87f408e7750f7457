"""Trains a language model: any experiment of the registry, from scratch or where it stopped.

python -m experiments.pretrain --experiment=gpt2_smoke --workdir=runs/gpt2_smoke
python -m experiments.pretrain --experiment=demo --workdir=runs/wide --config.model.d_model=512
python -m experiments.pretrain --experiment=gpt2_xl --dry_run --device_memory_gib=80
"""

from collections.abc import Sequence

from experiments.binary import run
from experiments.training_flags import train_as_flags_say
from experiments.training_run import language_modelling


def main(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    train_as_flags_say(language_modelling)


if __name__ == "__main__":
    run(main, with_experiment=True)
