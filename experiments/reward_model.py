r"""A reward model: a fine-tuned model learns which answers people prefer, as in InstructGPT.

python -m experiments.reward_model --experiment=reward_model_smoke --workdir=runs/reward
python -m experiments.reward_model --experiment=reward_model_6b --workdir=runs/reward \
    --config.checkpoint.init_from=runs/sft --config.data.tokenizer=runs/sft/tokenizer \
    --config.reward.rankings="jsonl:rankings/*.jsonl" \
    --config.reward.demonstrations="jsonl:chats/*.jsonl"
python -m experiments.reward_model --experiment=reward_model_6b --dry_run \
    --config.reward.max_answers=2

result.json has its accuracy on held-out rankings with a 95% interval, its calibration, how far the
annotators agree, and the shift (and gain) by which the demonstrations' rewards average 0.
"""

from collections.abc import Sequence

from experiments.alignment.reward_modelling import reward_modelling
from experiments.binary import run
from experiments.task_configs import RewardModelConfig
from experiments.training_flags import train_as_flags_say


def main(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    train_as_flags_say(reward_modelling)


if __name__ == "__main__":
    run(main, with_experiment=True, kind=RewardModelConfig)
