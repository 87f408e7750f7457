"""A conversation in progress: what was said, taken back, said again, kept in a file.

dialogue = Dialogue(system="You are brief.")
dialogue.say("Hello")
dialogue.answered("Hi.")
dialogue.save(Path("hello.jsonl"))    # a row that `sft.conversations=jsonl:hello.jsonl` reads
"""

import json
from pathlib import Path

from gptjax.atomic_files import write_json_lines
from gptjax.chat.context import check_roles
from gptjax.data.dialogue.chat_format import Conversation, Message, messages_of
from gptjax.data.dialogue.records import Row


class Dialogue:
    """The messages of one conversation. Users and the assistant take turns.

    Attributes:
      messages: all of them, a system message first where there is one.
    """

    def __init__(self, system: str | None = None):
        self.messages: list[Message] = []
        self.system = system

    @property
    def system(self) -> str | None:
        """The system message, None for none; it may be set at any time."""
        first = self.messages[:1]
        return first[0].content if first and first[0].role == "system" else None

    @system.setter
    def system(self, text: str | None) -> None:
        rest = self.messages if self.system is None else self.messages[1:]
        self.messages = [*([] if text is None else [Message("system", text)]), *rest]

    @property
    def turns(self) -> Conversation:
        """All messages as a conversation."""
        return tuple(self.messages)

    def say(self, text: str) -> None:
        """Adds a user's message."""
        self.messages.append(Message("user", text))

    def answered(self, text: str) -> None:
        """Adds the assistant's."""
        self.messages.append(Message("assistant", text))

    def reset(self) -> None:
        """Forgets all but the system message."""
        self.messages = [message for message in self.messages[:1] if message.role == "system"]

    def undo(self) -> str:
        """Takes back the last user's message and its reply; returns that message.

        Raises:
          ValueError: there is none.
        """
        at = next(
            (i for i in reversed(range(len(self.messages))) if self.messages[i].role == "user"),
            None,
        )
        if at is None:
            raise ValueError("undo: got a conversation without a turn, expected at least one")
        said = self.messages[at].content
        del self.messages[at:]
        return said

    def save(self, path: Path) -> None:
        """Writes the conversation as one row of JSON lines; OSError where that is not possible."""
        row = {"messages": [{"role": m.role, "content": m.content} for m in self.messages]}
        write_json_lines(path, [row])

    def load(self, path: Path) -> None:
        """Reads what `save` has written, in place of all messages.

        Raises:
          OSError: it cannot be read.
          ValueError: it is no such file, or its roles are out of order.
        """
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; expected one row of JSON with messages") from error
        if not isinstance(row, dict) or "messages" not in row:
            raise ValueError(f"{path}: got no field 'messages', expected a saved conversation")
        messages = messages_of(Row(str(path), row), "messages")
        check_roles(messages, continued=bool(messages) and messages[-1].role == "assistant")
        self.messages = list(messages)
