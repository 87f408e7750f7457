"""Flags that say what to continue, for binaries that generate.

prompt = prompt_of_flags(tokenizer, config, seed=0)
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.flags.paths import define_path, define_path_multi
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.image_text.documents import ImageText, interleaved
from gptjax.data.image_text.rows import ImageForm, encode_parts
from gptjax.data.pictures.picture import Picture
from gptjax.evals.requests import Generation
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
_SHOTS = flags.DEFINE_integer(
    "shots",
    0,
    "Documents that the run has learned, with images and answers, which stand before a prompt with "
    "images. They ask the same, where some do, and are drawn by --seed.",
    lower_bound=0,
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


def prompt_of_flags(tokenizer: Tokenizer, config: Any, seed: int) -> Prompt:
    """The prompt that the flags say, as a turn of a chat, as text, or as text with images.

    Args:
      tokenizer: of the run.
      config: of the run, resolved.
      seed: of the shots.

    Raises:
      ValueError: as `read_prompt`; a chat with a tokenizer that has no marks of one; images that
        cannot be read, of a run of text alone, or another number than the prompt has places for;
        more shots than fit.
    """
    from gptjax.runs.kind import kind_of

    text, is_chat = read_prompt(), isinstance(tokenizer, ChatTokenizer)
    form = kind_of(config).images(config)
    if isinstance(tokenizer, ImageTokenizer) and form is not None:
        return _with_images(text, tokenizer, form, config, seed)
    if _SHOTS.value:
        raise ValueError(
            f"--shots: got {_SHOTS.value}, expected 0: the model was trained on text alone, and "
            "examples can stand in --prompt"
        )
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


def _with_images(
    text: str, tokenizer: ImageTokenizer, form: ImageForm, config: Any, seed: int
) -> Prompt:
    """Text with the images of --image in the places that it has for them, perhaps as a turn."""
    is_turn = _CHAT.value or (_CHAT.value is None and isinstance(tokenizer.inner, ChatTokenizer))
    try:
        pictures = [Picture.at(reference) for reference in _IMAGE.value or ()]
        document = interleaved(text, pictures) if text or pictures else ImageText(())
        if _SHOTS.value and is_turn:
            raise ValueError(f"--shots: got {_SHOTS.value} with a user's turn, expected --nochat")
        if _SHOTS.value:
            document = _behind_shots(document, tokenizer, form, config, seed)
        text, parts, pictures = document.text, document.parts, document.pictures
        images = form.pixels(pictures, len(pictures)) if pictures else None
    except ValueError as error:
        if str(error).startswith("--"):
            raise
        raise ValueError(f"--image: {str(error).removeprefix('images: ')}") from error
    if is_turn:
        template = ChatTemplate(tokenizer, form.tokens)
        turn, end = template.prompt([Message.of("user", parts)]), template.tokenizer.end_of_turn
        return Prompt(turn, end, template.outside_answers, text, images)
    tokens = encode_parts(form.arranged(parts), tokenizer, form.tokens).ids
    return Prompt(tokens, tokenizer.end_of_text, tokenizer.outside_text, text, images)


def _behind_shots(
    document: ImageText, tokenizer: ImageTokenizer, form: ImageForm, config: Any, seed: int
) -> ImageText:
    """The document with --shots documents of the run before it, as evals put them."""
    from gptjax.evals.models.with_images import ImageReader
    from gptjax.evals.shots import Prompts, checked
    from gptjax.evals.tasks.pictures import answers_of
    from gptjax.tasks.image_text.kind import documents_of

    learned = [each for each in documents_of(config)[0] if each.answer is not None]
    alike = [each for each in learned if each.text == document.text] or learned
    asked = dataclasses.replace(document, answer="")
    task = answers_of("the prompt", [asked], alike, max_new_tokens=1)
    prompts, (item,) = Prompts(task, seed), task.items
    try:
        prompts.shots(item, _SHOTS.value)
        checked(prompts, _SHOTS.value, ImageReader(config.model, tokenizer, form))
    except ValueError as error:
        raise ValueError(f"--{error}") from error
    (request,) = prompts.requests(item, _SHOTS.value)
    assert isinstance(request, Generation)
    return interleaved(request.prompt, request.pictures)
