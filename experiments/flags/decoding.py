"""Flags that say what to continue and how tokens are picked, for binaries that generate.

prompt = prompt_of_flags(tokenizer)
sampler = sampler_of_flags(vocab_size)
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from absl import flags

from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.inference.text import encode_prompt
from gptjax.tokenization import ChatTokenizer, Tokenizer

_PROMPT = flags.DEFINE_string(
    "prompt", None, "Text to continue, by default what is piped in; empty: a text from nothing."
)
_PROMPT_FILE = flags.DEFINE_string(
    "prompt_file", None, "File that holds the prompt, less a last newline; - for standard input."
)
_CHAT = flags.DEFINE_bool(
    "chat",
    None,
    "Takes the prompt as a user's turn and ends with the assistant's; by default with the "
    "tokenizers that have the marks of a chat.",
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", None, "0 for the most probable token each time; by default 1."
)
_TOP_K = flags.DEFINE_integer("top_k", None, "Draws from that many most probable tokens.")
_TOP_P = flags.DEFINE_float("top_p", None, "Draws from the tokens that hold this share.")
_MIN_P = flags.DEFINE_float("min_p", None, "Least probability, as a share of the greatest.")
_REPETITION = flags.DEFINE_float(
    "repetition_penalty", 1.0, "Above 1 makes tokens of the text less probable."
)
_PRESENCE = flags.DEFINE_float("presence_penalty", 0.0, "Taken from logits of tokens written.")
_FREQUENCY = flags.DEFINE_float("frequency_penalty", 0.0, "The same, for each time written.")
_BANNED = flags.DEFINE_multi_integer("banned_token", [], "A token never drawn; again for more.")


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
    """Tokens [n] int32 to continue, the token that ends what follows, and a user's words."""

    tokens: np.ndarray
    stop_token: int | None
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
    return Prompt(turn, template.tokenizer.end_of_turn, text)


def sampler_of_flags(vocab_size: int, searching: bool = False) -> Sampler:
    """Makes the sampler that the flags describe.

    Args:
      vocab_size: of the model.
      searching: by beams, which draw nothing.

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
        banned_tokens=_BANNED.value,
        vocab_size=vocab_size,
    )
