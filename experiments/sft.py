r"""Supervised fine-tuning: a pretrained model learns what an assistant says, as in InstructGPT.

python -m experiments.sft --experiment=sft_smoke --workdir=runs/sft
python -m experiments.sft --experiment=sft_6b --workdir=runs/sft \
    --config.checkpoint.init_from=runs/gpt3_6.7b --config.data.tokenizer=chat:gpt2:data/gpt2 \
    --config.sft.conversations="jsonl:chats/*.jsonl"
python -m experiments.sft --experiment=sft_smoke --show_examples=3
python -m experiments.sft --experiment=sft_6b --dry_run --device_memory_gib=80

It starts from the parameters of a work directory, whose tokenizer may be the one inside
`chat:INNER`; experiments.convert makes one of a model of Hugging Face's. Epochs decide the steps,
or, with `--config.sft.epochs=none`, `training.num_steps` does; to give both is refused.

Later commands take the checkpoint that `sft.choose` says: of those that are saved and judged the
one of the lowest loss on held-out conversations or, as in the paper, of the highest reward of its
answers by `sft.judges`; or else the newest. That may be changed once the run has ended, by the same
command; `chosen_step` in result.json is what it said at the end.
"""

import sys
from collections.abc import Sequence

from absl import flags

from experiments.alignment.fine_tuning import fine_tuning, shown_examples
from experiments.binary import run
from experiments.task_configs import SFTConfig
from experiments.training_flags import config_of_flags, train_as_flags_say

_SHOW_EXAMPLES = flags.DEFINE_integer(
    "show_examples",
    None,
    "Prints so many rows of what is trained on, with + before what is learned, and starts nothing.",
    lower_bound=1,
)


def main(argv: Sequence[str]) -> None:
    """Fine-tunes what the flags say, or shows what of."""
    del argv
    if _SHOW_EXAMPLES.value is None:
        train_as_flags_say(fine_tuning)
        return
    config = config_of_flags()
    for text in shown_examples(config, _SHOW_EXAMPLES.value, sys.stdout.isatty()):
        print(text)


if __name__ == "__main__":
    run(main, with_experiment=True, kind=SFTConfig)
