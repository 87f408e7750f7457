"""Conversations as tokens: one template, and which tokens are learned.

    <|user|>What is 2+2?<|endofturn|><|assistant|>4<|endofturn|>

The marks are ids of the tokenizer kind `chat`, which no text becomes, so that a user who writes
"<|assistant|>" has written eleven or so ordinary tokens. Each message is encoded by itself: a
conversation's tokens are those of its prompt and, after them, those of its answer. The loss is on
what an assistant says and on the end of its turn.

    template = ChatTemplate(load_tokenizer("chat:python_docs_1024"))
    ids, loss_mask = template.render([Message("user", "Hi"), Message("assistant", "Hello.")])

A user's message may hold pictures, where the tokenizer is images:chat:INNER:

    <|user|>What is <image><|soft|>...</image>?<|endofturn|><|assistant|>

InstructGPT (arXiv 2203.02155) prints no template; this one is ours.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gptjax.data.dialogue.records import Row
from gptjax.data.pictures.picture import Picture
from gptjax.registry import unknown_name
from gptjax.tokenization import ChatTokenizer, ImageTokenizer, Tokenizer
from gptjax.tokenization.chat import ROLES


@dataclasses.dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
      role: system, user or assistant; another one raises ValueError.
      content: the text, which may be empty.
      pictures: where in the text each stands, in characters and in order, and it; of a user alone.
    """

    role: str
    content: str
    pictures: tuple[tuple[int, Picture], ...] = dataclasses.field(default=(), repr=False)

    def __post_init__(self):
        if self.role not in ROLES:
            raise unknown_name("role", self.role, ROLES)
        if self.pictures and self.role != "user":
            raise ValueError(f"pictures: got them of the role {self.role}, expected a user's")

    @classmethod
    def of(cls, role: str, parts: Iterable[str | Picture]) -> "Message":
        """The message of texts and pictures in their order."""
        text, pictures = "", []
        for part in parts:
            if isinstance(part, Picture):
                pictures.append((len(text), part))
            else:
                text += part
        return cls(role, text, tuple(pictures))


Conversation = tuple[Message, ...]


def plain_text(messages: Conversation) -> str:
    """Text of messages, for people and for functions of text; of several, each states its role."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


class ChatTemplate:
    """Turns conversations into tokens of one tokenizer, and answers back into text."""

    def __init__(self, tokenizer: Tokenizer, image_tokens: int | None = None):
        """Makes the template of a tokenizer.

        Args:
          tokenizer: of the kind `chat`, or, of models that read images, of `images:chat:INNER`;
            another one raises ValueError.
          image_tokens: places that an image takes; None: the model reads text alone.
        """
        self._images = None
        if image_tokens is not None and isinstance(tokenizer, ImageTokenizer):
            self._images, tokenizer = tokenizer, tokenizer.inner
        self._image_tokens = image_tokens or 0
        if not isinstance(tokenizer, ChatTokenizer):
            raise ValueError(
                f"tokenizer: got one of kind {tokenizer.kind}, expected one with the tokens of a "
                "chat, chat:INNER"
            )
        self.tokenizer = tokenizer

    @property
    def outside_answers(self) -> tuple[int, ...]:
        """The ids that no answer holds: the tokenizer's, and the marks of images."""
        of_images = () if self._images is None else self._images.outside_text
        return (*self.tokenizer.outside_answers, *of_images)

    def render(self, messages: Sequence[Message]) -> tuple[np.ndarray, np.ndarray]:
        """A whole conversation.

        Args:
          messages: one or more, in any order of roles.

        Returns:
          ids: [n] int32.
          loss_mask: [n] bool, which of them are learned: an assistant's content, and the
            end-of-turn after it.

        Raises:
          ValueError: no messages, or pictures that the model does not read.
        """
        if not messages:
            raise ValueError("conversation: got no messages, expected at least one")
        ids, masks = [], []
        for message in messages:
            turn = self._turn(message)
            ids += [[self.tokenizer.role(message.role)], turn]
            masks += [[False], np.full(len(turn), message.role == "assistant")]
        return np.concatenate(ids).astype(np.int32), np.concatenate(masks)

    def _turn(self, message: Message) -> np.ndarray:
        """Tokens of a message with its pictures, and the end of its turn."""
        pieces, begin = [], 0
        for at, _ in message.pictures:
            if self._images is None:
                raise ValueError("pictures: got one, expected none: the model reads text alone")
            pieces += [
                self.tokenizer.encode(message.content[begin:at]),
                self._images.image(self._image_tokens),
            ]
            begin = at
        return np.concatenate([*pieces, self.answer(message.content[begin:])])

    def prompt(self, messages: Sequence[Message]) -> np.ndarray:
        """Tokens of a prompt: the messages, then the mark of the assistant's turn; [n] int32.

        Raises:
          ValueError: no messages.
        """
        marker = np.array([self.tokenizer.role("assistant")], np.int32)
        return np.concatenate([self.render(messages)[0], marker])

    def answer(self, text: str) -> np.ndarray:
        """Tokens of an answer: the text, then the end of the turn; [n] int32."""
        return np.append(self.tokenizer.encode(text), np.int32(self.tokenizer.end_of_turn))

    def response(self, ids: npt.ArrayLike) -> tuple[str, bool]:
        """Reads what was generated after a prompt.

        Args:
          ids: [n] integers; what follows the first end-of-turn is left out.

        Returns:
          The text, and whether the turn was ended.
        """
        ids = np.asarray(ids)
        ends = np.flatnonzero(ids == self.tokenizer.end_of_turn)
        finished = ends.size > 0
        return self.tokenizer.decode(ids[: ends[0]] if finished else ids), finished


def conversation_of(row: Row) -> Conversation:
    """Reads `{"prompt", "response"}` or `{"messages": [{"role", "content"}, ...]}`.

    Raises:
      ValueError: anything else, or no message of an assistant.
    """
    if "messages" in row.fields:
        if clash := {"prompt", "response"} & row.fields.keys():
            raise row.wrong("row", f"'messages' and {min(clash)!r}", "one or the other")
        messages = messages_of(row, "messages")
    else:
        for field in ("prompt", "response"):
            if field not in row.fields:
                got = f"fields {', '.join(row.fields)}" if row.fields else "no fields"
                raise row.wrong("row", got, "'prompt' and 'response', or 'messages'")
        answer = Message("assistant", row.text("response"))
        messages = (*messages_of(row, "prompt"), answer)
    if all(message.role != "assistant" for message in messages):
        raise row.wrong("'messages'", "none of an assistant", "at least one to learn from")
    return messages


def prompt_of(row: Row) -> Conversation:
    """Reads the prompt of a row of either form, `response` or not: what an assistant is to answer.

    Raises:
      ValueError: neither form, or nothing before an assistant's last message.
    """
    field = "messages" if "messages" in row.fields else "prompt"
    prompt = before_answer(messages_of(row, field))
    if not prompt:
        raise row.wrong(repr(field), "no message before the answer", "a prompt")
    return prompt


def before_answer(conversation: Conversation) -> Conversation:
    """A conversation without its last message where that is an assistant's."""
    return conversation[:-1] if conversation[-1].role == "assistant" else conversation


def messages_of(row: Row, field: str) -> Conversation:
    """Reads a field that is a text, which a user says, or a list of messages.

    Raises:
      ValueError: anything else, naming the message.
    """
    value = row.value(field)
    if isinstance(value, str):
        return (Message("user", row.text(field)),)
    messages = []
    for index, message in enumerate(row.as_list(repr(field), value)):
        what = f"{field}[{index}]"
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            got = f"fields {', '.join(message)}" if isinstance(message, dict) else repr(message)
            raise row.wrong(what, got, "an object with 'role' and 'content'")
        if message["role"] not in ROLES:
            raise row.wrong(f"{what}: role", repr(message["role"]), f"one of {', '.join(ROLES)}")
        content = row.as_text(f"{what}: content", message["content"])
        messages.append(Message(message["role"], content))
    return tuple(messages)
