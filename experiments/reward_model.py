r"""A reward model: a fine-tuned model learns which answers people prefer, as in InstructGPT.

python -m experiments.reward_model --experiment=reward_model_smoke --workdir=runs/reward
python -m experiments.reward_model --experiment=reward_model_6b --workdir=runs/reward \
    --config.checkpoint.init_from=runs/sft --config.data.tokenizer=runs/sft/tokenizer \
    --config.reward.rankings="jsonl:rankings/*.jsonl" \
    --config.reward.demonstrations="jsonl:chats/*.jsonl"

result.json has its accuracy on held-out rankings with a 95% interval, its calibration, how far the
annotators agree, and the shift (and gain) by which the demonstrations' rewards average 0.
"""

from collections.abc import Sequence

from absl import flags

from experiments.binary import run
from experiments.processes import connect
from experiments.reward_modelling import reward_modelling
from experiments.task_configs import RewardModelConfig
from experiments.training_run import how_it_ended, train
from experiments.workdir import WorkDirectory, enable_compilation_cache
from gptjax.config import resolve

FLAGS = flags.FLAGS
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; it resumes there.")
_RESTORE_STEP = flags.DEFINE_integer(
    "restore_step", None, "Resumes from this checkpoint and removes later ones.", lower_bound=0
)


def main(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    connect()
    enable_compilation_cache()
    workdir, config = WorkDirectory(_WORKDIR.value), resolve(FLAGS.config)
    outcome = train(FLAGS.experiment, config, workdir, reward_modelling, _RESTORE_STEP.value)
    print(how_it_ended(outcome, workdir))


if __name__ == "__main__":
    run(main, with_experiment=True, kind=RewardModelConfig)
