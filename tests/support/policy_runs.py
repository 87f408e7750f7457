"""Runs of PPO small enough for tests, on the embedded tasks, and rewards for them.

run_policy(path, make_ppo(make_starts(folder), ppo__inner_epochs=2))
"""

import os
import signal

from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from gptjax.tasks.policy_optimisation import kind as policy_optimisation
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.tasks.policy_optimisation.environment import PolicyEnvironment
from gptjax.training.reporting.metrics import read_metrics
from tests.support.alignment_runs import fine_tuned, make_config, run

HERE = "tests.support.policy_runs"


def make_starts(folder):
    """A fine-tuned model and a reward model, for all runs of a test file."""
    sft = fine_tuned(folder, num_steps=4)
    reward = make_config(RewardModelConfig, training__num_steps=4)
    return sft, run(folder / "reward", reward)


def make_ppo(starts, **overrides):
    """PPO-ptx of four iterations from the runs of `starts`, a fine-tuned and a reward model.

    With all that a run carries along: an average, the moments of scores, a coefficient that adapts.
    """
    sft, reward = starts
    return make_config(
        PPOConfig,
        **{
            "checkpoint__init_from": str(sft.path),
            "checkpoint__every_steps": 2,
            "training__num_steps": 4,
            "training__batch_size": 8,
            "training__eval_every": 2,
            "optimizer__learning_rate": 0.01,
            "optimizer__ema_decay": 0.9,
            "ppo__prompts": "instructions:count=40",
            "ppo__samples": "instructions:split=held_out,count=3",
            "ppo__rewards": f"reward_model:{reward.path} + 0.5*gold + 0.25*python:{HERE}:brevity",
            "ppo__max_prompt_tokens": 26,
            "ppo__max_answer_tokens": 12,
            "ppo__minibatches": 2,
            "ppo__value_learning_rate": 0.01,
            "ppo__kl_target": 0.01,
            "ppo__scale_scores": True,
            "ppo__pretraining_coefficient": 2.0,
            "ppo__pretraining_rows": 1,
            "stop__max_empty": None,
            **overrides,
        },
    )


def relative(trained, **overrides):
    """GRPO of four iterations without a value network, a reward model or text: the cheapest run."""
    return trained.config(
        "ppo",
        **{
            "ppo__advantages": "grpo",
            "ppo__answers_per_prompt": 4,
            "ppo__pretraining_coefficient": 0.0,
            "ppo__rewards": "gold",
            "ppo__samples": None,
            "ppo__minibatches": 1,
            **overrides,
        },
    )


def run_policy(path, config, restore_step=None, environment=None):
    """Runs it in `path`, in another `environment` class if given; returns the work directory."""
    workdir = WorkDirectory(str(path))
    usual = policy_optimisation.PolicyEnvironment
    policy_optimisation.PolicyEnvironment = environment or usual
    try:
        train("tiny", config, workdir, restore_step)
    finally:
        policy_optimisation.PolicyEnvironment = usual
    return workdir


def stopping_environment(iteration, by=signal.SIGTERM):
    """An environment in which a signal ends the run as it draws the answers of `iteration`."""

    class Stopping(PolicyEnvironment):
        def _draw(self, params, current):
            if current == iteration:
                os.kill(os.getpid(), by)
            return super()._draw(params, current)

    return Stopping


def curve(workdir):
    """Rows of metrics.jsonl, without the speeds."""
    return [
        {
            name: x
            for name, x in row.items()
            if not name.startswith("seconds") and name != "tokens_per_second"
        }
        for row in read_metrics(workdir.path / "metrics.jsonl")
    ]


def brevity(prompt, response):
    """Rewards short answers."""
    del prompt
    return -len(response) / 10


def constant(prompt, response):
    """Says the same of all, a number whose float32 mean of several is rounded."""
    del prompt, response
    return 17.3


def failing(prompt, response):
    """Breaks down."""
    del prompt
    raise KeyError(f"no key\nfor {len(response) > 0}")


def not_a_number(prompt, response):
    """Is NaN for whatever is said."""
    del prompt, response
    return float("nan")
