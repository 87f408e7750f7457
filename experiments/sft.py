r"""Supervised fine-tuning: a pretrained model learns what an assistant says, as in InstructGPT.

python -m experiments.sft --experiment=sft_smoke --workdir=runs/sft
python -m experiments.sft --experiment=sft_6b --workdir=runs/sft \
    --config.checkpoint.init_from=runs/gpt3_6.7b --config.data.tokenizer=chat:gpt2:data/gpt2 \
    --config.sft.conversations="jsonl:chats/*.jsonl"
python -m experiments.sft --experiment=sft_6b --dry_run --device_memory_gib=80

It starts from the parameters of a work directory, whose tokenizer may be the one inside
`chat:INNER`; experiments.convert makes one of a model of Hugging Face's. Later commands take the
checkpoint of the lowest loss on held-out conversations; result.json names it as `chosen_step`.
"""

from collections.abc import Sequence

from experiments.binary import run
from experiments.fine_tuning import fine_tuning
from experiments.task_configs import SFTConfig
from experiments.training_flags import train_as_flags_say


def main(argv: Sequence[str]) -> None:
    """Fine-tunes what the flags say."""
    del argv
    train_as_flags_say(fine_tuning)


if __name__ == "__main__":
    run(main, with_experiment=True, kind=SFTConfig)
