"""Flags of binaries that have answers to prompts drawn and judged.

rewards, prompts = rewards_of_flags(tokenizer), prompts_of_flags()
answers = policy.answers(prompts, 4, **draws_of_flags())
"""

from typing import Any

from absl import flags

from gptjax.alignment.rewards import Reward
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.data.dialogue.records import Records
from gptjax.judging.judges import load_judge
from gptjax.tokenization import Tokenizer

_JUDGE = flags.DEFINE_string(
    "judge",
    None,
    "reward_model:WORKDIR, rubric:FILE, gold or python:MODULE:FUNCTION; WEIGHT*X + Y for a sum.",
)
_PROMPTS = flags.DEFINE_string(
    "prompts", None, "A set: jsonl:PATH, instructions:split=held_out, or any other of the readers."
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 1.0, "Of answers; 0 takes the most probable tokens.", lower_bound=0.0
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Another seed, other answers.", lower_bound=0, upper_bound=2**31 - 1
)
_MAX_NEW_TOKENS = flags.DEFINE_integer(
    "max_new_tokens", None, "Of an answer; by default all that fit in the context.", lower_bound=1
)


def given(flag: flags.FlagHolder[str | None], expected: str) -> str:
    """The value of a flag that has to be given.

    Raises:
      ValueError: it is not.
    """
    if flag.value is None:
        raise ValueError(f"--{flag.name}: got none, expected {expected}")
    return flag.value


def rewards_of_flags(tokenizer: Tokenizer) -> list[Reward]:
    """Loads the judge for answers in this tokenizer; ValueError as `load_judge`, or without it."""
    expected = "reward_model:WORKDIR, rubric:FILE, gold or python:MODULE:FUNCTION"
    return load_judge(given(_JUDGE, expected), tokenizer)


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
