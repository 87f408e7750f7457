"""Trains any experiment of the registry, of whatever kind, from its start or where it stopped.

python -m experiments.train --experiment=gpt2_smoke --workdir=runs/gpt2
python -m experiments.train --experiment=sft_smoke --workdir=runs/sft
python -m experiments.train --experiment=gpt2_xl --dry_run --device_memory_gib=80
python -m experiments.train --experiment=sft_smoke --show_examples=3

The experiment says the kind of run: pretraining, fine-tuning, a reward model, DPO, PPO;
`python -m experiments.list --kind=NAME` has what each takes and gives.
"""

from collections.abc import Sequence

from experiments.flags.command_line import run
from experiments.flags.training import train_as_flags_say


def main(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    train_as_flags_say()


if __name__ == "__main__":
    run(main, with_experiment=True)
