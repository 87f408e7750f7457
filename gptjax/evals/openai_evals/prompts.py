r"""Prompts: a text, or a chat as a list of messages, and templates that are filled with them.

    as_text([{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1"}])
    # "Add.\nUser: 1+1\nAssistant:"

Source: evals/prompt/base.py and evals/elsuite/utils.py of openai/evals 3.0.1.
"""

import string
from collections.abc import Mapping
from typing import Any

Prompt = str | list[dict[str, str]]

_PREFIXES = {"system": "", "example_user": "User: ", "example_assistant": "Assistant: "}
_ROLES = {"example_user": "user", "example_assistant": "assistant"}


def is_chat(prompt: Any) -> bool:
    """Whether a prompt is a list of messages."""
    return isinstance(prompt, list) and all(isinstance(message, dict) for message in prompt)


def checked(prompt: Any, where: str) -> Prompt:
    """`prompt`, if it is a text or messages with content; `where` says which it is, in errors."""
    if isinstance(prompt, str):
        return prompt
    if not prompt or not is_chat(prompt):
        raise ValueError(
            f"{where}: got {type(prompt).__name__}, expected text or a list of messages"
        )
    for message in prompt:
        if not isinstance(message.get("content"), str) or not isinstance(message.get("role"), str):
            raise ValueError(
                f"{where}: got a message with {', '.join(message) or 'nothing'}, expected a text "
                "as 'role' and one as 'content'"
            )
    return prompt


def as_text(prompt: Prompt, for_completion: bool = True) -> str:
    """A prompt as text; of several messages, those of users and assistants state who speaks.

    Args:
      prompt: a chat, or a text, which stays as it is.
      for_completion: whether the text ends where the assistant is to speak.
    """
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    text = ""
    for message in prompt:
        speaker = message.get("name", message["role"])
        prefix = _PREFIXES.get(speaker, speaker.capitalize() + ": ")
        text += f"{prefix}{message['content']}\n"
    return (text + "Assistant:" if for_completion else text).lstrip()


def as_chat(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt as messages; a text is what a system says."""
    return [{"role": "system", "content": prompt}] if isinstance(prompt, str) else prompt


def speaker(message: Mapping[str, str]) -> str:
    """Who speaks in a message: an example's user is a user, and so its assistant."""
    return _ROLES.get(message.get("name", ""), message["role"])


def escaped(prompt: Prompt) -> Prompt:
    """The prompt as a template that `filled` turns back into it: its braces are doubled."""
    if isinstance(prompt, str):
        return prompt.replace("{", "{{").replace("}", "}}")
    return [{**message, "content": str(escaped(message["content"]))} for message in prompt]


def filled(template: Prompt, values: Mapping[str, Any]) -> Prompt:
    """A template with its fields in braces replaced; a value that is a chat becomes text.

    Raises:
      ValueError: a field without a value, or a brace that stands alone.
    """
    if isinstance(template, list):
        return [{**each, "content": str(filled(each["content"], values))} for each in template]
    values = {
        name: as_text(value, for_completion=False) if value and is_chat(value) else value
        for name, value in values.items()
    }
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
        missing = [name for name in names if name not in values]
        if not missing:
            return template.format(**{name: values[name] for name in names})
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"template {template[:60]!r}: {error}, expected fields as {{name}}"
        ) from error
    raise ValueError(
        f"template {template[:60]!r}: got no value for {missing[0]!r}, expected one of: "
        f"{', '.join(values)}"
    )
