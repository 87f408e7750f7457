r"""DPO and IPO: a fine-tuned model learns from rankings, with no reward model and no rollouts.

python -m experiments.dpo --experiment=dpo_smoke --workdir=runs/dpo \
    --config.checkpoint.init_from=runs/sft
python -m experiments.dpo --experiment=dpo_6b --workdir=runs/dpo \
    --config.checkpoint.init_from=runs/sft --config.data.tokenizer=runs/sft/tokenizer \
    --config.dpo.rankings="jsonl:rankings/*.jsonl"

The reference is the model that it starts from. result.json has the accuracy of the implicit reward,
beta log(policy / reference), on held-out rankings with a 95% interval, the margins, and an estimate
of the divergence from the reference in nats an answer.
"""

from collections.abc import Sequence

from experiments.alignment.preference_optimisation import preference_optimisation
from experiments.binary import run
from experiments.task_configs import DPOConfig
from experiments.training_flags import train_as_flags_say


def main(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    train_as_flags_say(preference_optimisation)


if __name__ == "__main__":
    run(main, with_experiment=True, kind=DPOConfig)
