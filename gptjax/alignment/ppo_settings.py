"""Settings of PPO, GRPO and RLOO. The defaults are those of InstructGPT.

settings = PPOSettings(pretraining_coefficient=27.8)   # PPO-ptx
settings = PPOSettings(advantages="grpo", answers_per_prompt=8)

Source: InstructGPT (arXiv 2203.02155, section 3.5 and appendix C.4). It does not publish
gae_decay, value_clip, whiten and unfinished_score: their defaults are those of the code of Ziegler
et al. 2019 (arXiv 1909.08593).
"""

import dataclasses

from gptjax.settings import setting


@dataclasses.dataclass
class PPOSettings:
    """Settings of a policy's update."""

    advantages: str = setting(
        "gae",
        "how advantages are found: by a value network (gae), or by comparison with other answers "
        "to the same prompt (grpo, rloo)",
        choices=("gae", "grpo", "rloo"),
    )
    answers_per_prompt: int = setting(1, "answers drawn for each prompt", low=1)
    minibatches: int = setting(
        8,
        "parts that the answers of an iteration are divided into; each part makes one update",
        low=1,
    )
    inner_epochs: int = setting(1, "passes over the answers of an iteration", low=1)
    temperature: float = setting(
        1.0, "temperature of the draws and of the probabilities", above=0.0
    )
    kl_coefficient: float = setting(
        0.02, "beta, the penalty for each nat of divergence from the reference", low=0.0
    )
    kl_target: float | None = setting(
        None,
        "divergence, in nats an answer, that beta is adapted to reach; none: beta is fixed",
        above=0.0,
    )
    unfinished_score: float | None = setting(
        -1.0, "score of an answer that does not end; none: the score that the rewards give it"
    )
    scale_scores: bool = setting(
        False, "whether scores are divided by the standard deviation of all scores so far"
    )
    whiten: bool = setting(True, "whether the advantages of gae get mean 0 and variance 1")
    discount: float = setting(
        1.0, "discount of rewards per token, gamma of gae", above=0.0, high=1.0
    )
    gae_decay: float = setting(0.95, "lambda of gae", low=0.0, high=1.0)
    clip: float = setting(
        0.2,
        "distance from 1 at which the ratio of new to old policy is clipped",
        above=0.0,
        below=1.0,
    )
    value_clip: float | None = setting(
        0.2,
        "largest change of a value in an iteration before the loss clips it; none: no clipping",
        above=0.0,
    )
    value_learning_rate: float = setting(
        9e-6,
        "peak learning rate of the value network; its other settings are those of optimizer",
        above=0.0,
    )
    pretraining_coefficient: float = setting(
        0.0, "gamma of PPO-ptx, the weight of the loss on text; 0: no text is read", low=0.0
    )
    pretraining_rows: int = setting(8, "rows of text for each answer, in PPO-ptx", low=1)


@dataclasses.dataclass
class StopSettings:
    """Limits that end a run early. The message gives the reason and the last good checkpoint."""

    max_kl: float | None = setting(
        None, "largest divergence from the reference, in nats an answer; none: no limit", above=0.0
    )
    min_entropy: float | None = setting(
        0.01, "least entropy of the policy, in nats a token; none: no limit", low=0.0
    )
    max_empty: float | None = setting(
        0.9, "largest share of empty answers; none: no limit", low=0.0, high=1.0
    )


def check(settings: PPOSettings, batch_size: int) -> None:
    """Refuses settings that contradict each other or do not fit a batch of `batch_size` answers.

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
