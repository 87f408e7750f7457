"""Flags of binaries that draw answers to prompts and score them.

rewards, prompts = rewards_of_flags(tokenizer), prompts_of_flags()
answers = policy.answers(prompts, 4, **draws_of_flags())
"""

from typing import Any

from absl import flags

from experiments.flags.command_line import given
from experiments.flags.paths import define_path
from gptjax.alignment.rewards import Reward
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.data.dialogue.records import Records
from gptjax.tokenization import Tokenizer

_REWARDS = define_path(
    "rewards",
    None,
    "What scores the answers: reward_model:WORKDIR, rubric:FILE, gold, python:MODULE:FUNCTION, "
    "or a sum such as reward_model:WORKDIR + 0.5*gold. It must be given.",
)
_PROMPTS = define_path(
    "prompts",
    None,
    "Set of prompts: jsonl:PATH, instructions:split=held_out, or another set. It must be given.",
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature",
    1.0,
    "Temperature at which answers are drawn. 0 takes the most probable tokens.",
    lower_bound=0.0,
)
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Seed of the draws. Another seed gives other answers.",
    lower_bound=0,
    upper_bound=2**31 - 1,
)
_MAX_NEW_TOKENS = flags.DEFINE_integer(
    "max_new_tokens",
    None,
    "Largest number of tokens in an answer. By default the context is filled.",
    lower_bound=1,
)


def rewards_of_flags(tokenizer: Tokenizer) -> list[Reward]:
    """Loads --rewards for answers in this tokenizer; ValueError as `load_rewards`, or without."""
    from gptjax.judging.named_rewards import load_rewards

    expected = "reward_model:WORKDIR, rubric:FILE, gold or python:MODULE:FUNCTION"
    return load_rewards(given(_REWARDS, expected), tokenizer)


def prompts_of_flags() -> Records[Conversation]:
    """The prompts; ValueError as `load_prompts`, or where none are given."""
    return load_prompts(given(_PROMPTS, "jsonl:PATH, instructions:split=held_out or another set"))


def draws_of_flags(count: int) -> dict[str, Any]:
    """Reads the flags of drawing `count` answers to a prompt, as keywords of `Policy.answers`.

    Raises:
      ValueError: several that would all be the same.
    """
    if _TEMPERATURE.value == 0 and count > 1:
        raise ValueError(
            f"--temperature: got 0 with {count} answers to a prompt, which would all be the same, "
            "expected above 0"
        )
    return {
        "temperature": _TEMPERATURE.value,
        "seed": _SEED.value,
        "max_new_tokens": _MAX_NEW_TOKENS.value,
    }
