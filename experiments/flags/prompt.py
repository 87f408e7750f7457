"""Flags that say what to continue, for binaries that generate.

prompt = prompt_of_flags(tokenizer, config)
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.flags.paths import define_path, define_path_multi
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.image_text.documents import interleaved
from gptjax.data.image_text.rows import ImageForm, encode_parts
from gptjax.data.pictures.picture import Picture
from gptjax.inference.text import encode_prompt
from gptjax.tokenization import ChatTokenizer, ImageTokenizer, Tokenizer

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
_IMAGE = define_path_multi(
    "image",
    "File of an image, PNG or JPEG, which stands where the prompt has <image>. It may be given "
    "again.",
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
      said: the words as they were given, where it is a turn of a chat or has images.
      images: of the prompt, uint8 [N, H, W, C]; None: it has none.
    """

    tokens: np.ndarray
    stop_token: int | None
    banned: tuple[int, ...] = ()
    said: str | None = None
    images: np.ndarray | None = None


def prompt_of_flags(tokenizer: Tokenizer, config: Any) -> Prompt:
    """The prompt that the flags say, as a turn of a chat, as text, or as text with images.

    Args:
      tokenizer: of the run.
      config: of the run, resolved.

    Raises:
      ValueError: as `read_prompt`; a chat with a tokenizer that has no marks of one; images that
        cannot be read, of a run of text alone, or another number than the prompt has places for.
    """
    from gptjax.runs.kind import kind_of

    text, is_chat = read_prompt(), isinstance(tokenizer, ChatTokenizer)
    if isinstance(tokenizer, ImageTokenizer) and kind_of(config).marks == ImageTokenizer.kind:
        from gptjax.tasks.image_text.kind import image_form

        return _with_images(text, tokenizer, image_form(config))
    if _IMAGE.value:
        raise ValueError(
            f"--image: got {_IMAGE.value[0]}, expected none: the model was trained on text alone"
        )
    if _CHAT.value is False or not (_CHAT.value or is_chat):
        return Prompt(encode_prompt(tokenizer, text), tokenizer.end_of_text)
    template = ChatTemplate(tokenizer)
    turn = template.prompt([Message("user", text)])
    marks = template.tokenizer
    return Prompt(turn, marks.end_of_turn, marks.outside_answers, text)


def _with_images(text: str, tokenizer: ImageTokenizer, form: ImageForm) -> Prompt:
    """Text with the images of --image in the places that it has for them, perhaps as a turn."""
    try:
        pictures = [Picture.at(reference) for reference in _IMAGE.value or ()]
        parts = interleaved(text, pictures).parts if text or pictures else ()
        images = form.pixels(pictures, len(pictures)) if pictures else None
    except ValueError as error:
        raise ValueError(f"--image: {str(error).removeprefix('images: ')}") from error
    if _CHAT.value or (_CHAT.value is None and isinstance(tokenizer.inner, ChatTokenizer)):
        template = ChatTemplate(tokenizer, form.tokens)
        turn, end = template.prompt([Message.of("user", parts)]), template.tokenizer.end_of_turn
        return Prompt(turn, end, template.outside_answers, text, images)
    tokens = encode_parts(form.arranged(parts), tokenizer, form.tokens).ids
    return Prompt(tokens, tokenizer.end_of_text, tokenizer.outside_text, text, images)
