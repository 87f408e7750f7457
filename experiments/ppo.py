r"""PPO: a fine-tuned model learns to give answers that a reward model prefers, as in InstructGPT.

python -m experiments.ppo --experiment=ppo_smoke --workdir=runs/ppo \
    --config.checkpoint.init_from=runs/sft --config.ppo.rewards=reward_model:runs/reward
python -m experiments.ppo --experiment=grpo_smoke --workdir=runs/grpo \
    --config.checkpoint.init_from=runs/sft --config.ppo.rewards=gold

Rewards add up, each with its weight and each logged apart; docs/alignment.md says what there is.
`config.ppo.pretraining_coefficient` above 0 makes it PPO-ptx; `config.ppo.advantages` grpo or rloo
do without a value network. samples.html shows a fixed set of prompts as the policy learns.
"""

from collections.abc import Sequence

from experiments.alignment.policy_optimisation import optimise_policy
from experiments.binary import run
from experiments.task_configs import PPOConfig
from experiments.training_flags import run_as_flags_say


def main(argv: Sequence[str]) -> None:
    """Optimises what the flags say."""
    del argv
    run_as_flags_say(optimise_policy)


if __name__ == "__main__":
    run(main, with_experiment=True, kind=PPOConfig)
