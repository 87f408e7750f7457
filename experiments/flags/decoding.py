"""Flags that say what to continue and how tokens are picked, for binaries that generate.

prompt = prompt_of_flags(tokenizer)
sampler = sampler_of_flags(vocab_size)
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from experiments.flags.paths import define_path
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.inference.text import encode_prompt
from gptjax.tokenization import ChatTokenizer, Tokenizer

_PROMPT = flags.DEFINE_string(
    "prompt",
    None,
    "Text to continue. By default it is read from standard input. An empty text is allowed.",
)
_PROMPT_FILE = define_path(
    "prompt_file",
    None,
    "File that holds the prompt. A newline at its end is dropped. - stands for standard input.",
)
_CHAT = flags.DEFINE_bool(
    "chat",
    None,
    "Whether the prompt is a user's turn, which the model answers. By default it is with a chat "
    "tokenizer.",
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature",
    None,
    "Temperature of the draws. 0 takes the most probable token each time. By default it is 1.",
)
_TOP_K = flags.DEFINE_integer(
    "top_k", None, "Number of most probable tokens to draw from. By default all."
)
_TOP_P = flags.DEFINE_float(
    "top_p", None, "Total probability of the most probable tokens to draw from. By default 1."
)
_MIN_P = flags.DEFINE_float(
    "min_p", None, "Least probability of a token to draw, as a share of the greatest. By default 0."
)
_REPETITION = flags.DEFINE_float(
    "repetition_penalty",
    1.0,
    "Factor that makes tokens of the text less probable, where it is above 1.",
)
_PRESENCE = flags.DEFINE_float(
    "presence_penalty",
    0.0,
    "Number that is subtracted from the logit of each token that has been written.",
)
_FREQUENCY = flags.DEFINE_float(
    "frequency_penalty",
    0.0,
    "Number that is subtracted from a token's logit for each time it has been written.",
)
_BANNED = flags.DEFINE_multi_integer(
    "banned_token", [], "Id of a token that is never drawn. The flag may be given several times."
)


def read_prompt() -> str:
    """The prompt that the flags say; where they say none, what is piped in, else nothing.

    Raises:
      ValueError: both are given, or what cannot be read as UTF-8.
    """
    prompt, prompt_file = _PROMPT.value, _PROMPT_FILE.value
    if prompt is not None and prompt_file is not None:
        raise ValueError("got both --prompt and --prompt_file, expected at most one")
    if prompt is not None:
        return prompt
    if prompt_file is None and sys.stdin.isatty():
        return ""
    try:
        if prompt_file is None or prompt_file == "-":
            content = sys.stdin.buffer.read()
        else:
            content = Path(prompt_file).read_bytes()
        return content.decode().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        source = "standard input" if prompt_file in (None, "-") else "--prompt_file"
        raise ValueError(f"{source}: {error}; expected text in UTF-8") from error


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What is continued.

    Attributes:
      tokens: [n] int32.
      stop_token: that ends what follows.
      banned: tokens that it never holds.
      said: a user's words, where it is a turn of a chat.
    """

    tokens: np.ndarray
    stop_token: int | None
    banned: tuple[int, ...] = ()
    said: str | None = None


def prompt_of_flags(tokenizer: Tokenizer) -> Prompt:
    """The prompt that the flags say, as a turn of a chat or as text; errors are `read_prompt`'s.

    Raises:
      ValueError: a chat with a tokenizer that has no marks of one.
    """
    text, is_chat = read_prompt(), isinstance(tokenizer, ChatTokenizer)
    if _CHAT.value is False or not (_CHAT.value or is_chat):
        return Prompt(encode_prompt(tokenizer, text), tokenizer.end_of_text)
    template = ChatTemplate(tokenizer)
    turn = template.prompt([Message("user", text)])
    marks = template.tokenizer
    return Prompt(turn, marks.end_of_turn, marks.outside_answers, text)


def sampler_of_flags(
    vocab_size: int, searching: bool = False, banned: Sequence[int] = ()
) -> Sampler:
    """Makes the sampler that the flags describe.

    Args:
      vocab_size: of the model.
      searching: by beams, which draw nothing.
      banned: tokens that are never drawn, besides those of the flags.

    Raises:
      ValueError: values out of range, or that contradict each other.
    """
    temperature = _TEMPERATURE.value
    given = [flag.name for flag in (_TEMPERATURE, _TOP_K, _TOP_P, _MIN_P) if flag.value is not None]
    if searching and given:
        raise ValueError(f"--num_beams: got it with --{given[0]}, expected no sampling")
    if temperature is None:
        temperature = 0.0 if searching else 1.0
    return make_sampler(
        temperature,
        _TOP_K.value,
        _TOP_P.value,
        _MIN_P.value,
        repetition_penalty=_REPETITION.value,
        presence_penalty=_PRESENCE.value,
        frequency_penalty=_FREQUENCY.value,
        banned_tokens=[*_BANNED.value, *banned],
        vocab_size=vocab_size,
    )
