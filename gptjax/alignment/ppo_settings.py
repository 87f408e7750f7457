"""Settings of PPO and of its relatives without a value network; defaults are InstructGPT's.

settings = PPOSettings(pretraining_coefficient=27.8)   # PPO-ptx
settings = PPOSettings(advantages="grpo", answers_per_prompt=8)

Source: InstructGPT (arXiv 2203.02155, section 3.5 and appendix C.4). Not published there, and those
of the code of Ziegler et al. 2019 (arXiv 1909.08593): gae_decay, value_clip, whiten and
unfinished_score.
"""

import dataclasses

from gptjax.settings import setting


@dataclasses.dataclass
class PPOSettings:
    """Settings of a policy's update."""

    # gae: a value network; grpo, rloo: none, an answer is compared with the others to its prompt
    advantages: str = setting("gae", choices=("gae", "grpo", "rloo"))
    answers_per_prompt: int = setting(1, low=1)
    minibatches: int = setting(8, low=1)  # that a batch of answers is cut into, an update each
    inner_epochs: int = setting(1, low=1)  # over the answers of an iteration
    temperature: float = setting(1.0, above=0.0)  # that answers are drawn, and judged, with
    kl_coefficient: float = setting(0.02, low=0.0)  # beta, of leaving the reference
    kl_target: float | None = setting(None, above=0.0)  # nats an answer; none: beta is fixed
    unfinished_score: float | None = -1.0  # of an answer without end; none: whatever it scores
    scale_scores: bool = False  # whether scores are divided by the deviation of all so far
    whiten: bool = True  # whether advantages get mean 0 and variance 1; of gae
    discount: float = setting(1.0, above=0.0, high=1.0)
    gae_decay: float = setting(0.95, low=0.0, high=1.0)  # lambda
    clip: float = setting(0.2, above=0.0, below=1.0)  # of the policy's ratio
    value_clip: float | None = setting(0.2, above=0.0)  # none: the plain squared error
    value_learning_rate: float = setting(9e-6, above=0.0)  # else as config.optimizer
    pretraining_coefficient: float = setting(0.0, low=0.0)  # gamma; 0: PPO, without ptx
    pretraining_rows: int = setting(8, low=1)  # for each answer


@dataclasses.dataclass
class StopSettings:
    """Limits that end a run early, with the reason and the last good checkpoint; none: no limit."""

    max_kl: float | None = setting(None, above=0.0)  # nats an answer, from the reference
    min_entropy: float | None = setting(0.01, low=0.0)  # nats a token
    max_empty: float | None = setting(0.9, low=0.0, high=1.0)  # share of answers that say nothing


def check(settings: PPOSettings, batch_size: int) -> None:
    """Refuses what contradicts itself or a batch of so many answers.

    Raises:
      ValueError: naming the field of `config.ppo`.
    """
    groups, alone = settings.answers_per_prompt, settings.advantages == "gae"
    if not alone and groups < 2:
        raise ValueError(
            f"config.ppo.answers_per_prompt: got {groups} with advantages={settings.advantages}, "
            "expected 2 or more"
        )
    for name, parts in (("answers_per_prompt", groups), ("minibatches", settings.minibatches)):
        if batch_size % parts:
            raise ValueError(
                f"config.ppo.{name}: got {parts}, expected a divisor of training.batch_size = "
                f"{batch_size}, the answers of an iteration"
            )
