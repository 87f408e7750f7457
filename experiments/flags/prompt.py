"""Flags that say what to continue, for binaries that generate.

prompt = prompt_of_flags(tokenizer)
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from absl import flags

from experiments.flags.paths import define_path
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
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
