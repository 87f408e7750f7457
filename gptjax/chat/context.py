"""What of a conversation a model reads when not all of it fits in the context.

    read = fitted(template, messages, context_length=512, reserved=100, overflow="drop_oldest")
    read.tokens, read.dropped    # the prompt, and the numbers of the messages that are not in it

By name:

    refuse       raises `ContextExceeded`
    drop_oldest  leaves out whole turns, the oldest first; a turn is a user's message and what
                 follows it up to the next one
    slide        leaves out tokens, the oldest first

The system messages with which a conversation begins always stay, as does its last turn, of which
`slide` may leave out the beginning.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.pictures.picture import Picture
from gptjax.registry import unknown_name

OVERFLOW = ("refuse", "drop_oldest", "slide")


class ContextExceeded(ValueError):
    """A conversation that does not fit in the context with the room that is to be left."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The prompt that is read.

    Attributes:
      tokens: [n] int32, up to the mark of the assistant's turn.
      dropped: numbers of the messages that are not in it, from 0.
      cut: tokens of the remaining ones that are not in it.
      pictures: those that are in it, in their order.
    """

    tokens: np.ndarray
    dropped: tuple[int, ...] = ()
    cut: int = 0
    pictures: tuple[Picture, ...] = ()


def check_roles(messages: Sequence[Message], continued: bool = False) -> None:
    """Refuses conversations that an assistant cannot answer, or continue where `continued`.

    Raises:
      ValueError: no messages, the last one is an assistant's (or is not, where it is to be
        continued), or an assistant speaks before anybody else.
    """
    if not messages:
        raise ValueError("messages: got none, expected at least one")
    roles = [message.role for message in messages]
    if (roles[-1] == "assistant") != continued:
        expected = "an assistant's, to be continued" if continued else "a user's or the system's"
        raise ValueError(f"messages: the last one is of role {roles[-1]}, expected {expected}")
    spoken = [role for role in roles if role != "system"]
    if spoken and spoken[0] == "assistant":
        raise ValueError("messages: got an assistant's before any of a user, expected a user's")
    for number, pair in enumerate(itertools.pairwise(roles)):
        if pair == ("assistant", "assistant"):
            raise ValueError(
                f"messages[{number + 1}]: got a second message of the assistant in a row, expected "
                "one of another role"
            )


def fitted(
    template: ChatTemplate,
    messages: Sequence[Message],
    *,
    context_length: int,
    reserved: int = 1,
    overflow: str = "refuse",
    begun: np.ndarray | None = None,
) -> Fitted:
    """The prompt of a conversation that leaves room for a reply.

    Args:
      template: of the model.
      messages: that are to be answered.
      context_length: of the model, in tokens.
      reserved: tokens of the reply that must fit, at least 1.
      overflow: one of `OVERFLOW`.
      begun: tokens [n] with which the reply begins; they count as read.

    Raises:
      ContextExceeded: it does not fit, under `overflow`.
      ValueError: another `overflow`, or a conversation with pictures that would have to slide.
    """
    if overflow not in OVERFLOW:
        raise unknown_name("context overflow", overflow, OVERFLOW)
    begun = np.zeros(0, np.int32) if begun is None else begun
    most = context_length - reserved - len(begun)

    def prompt(kept: Sequence[int]) -> np.ndarray:
        return template.prompt([messages[i] for i in kept])

    def pictures(kept: Sequence[int]) -> tuple[Picture, ...]:
        return tuple(picture for i in kept for _, picture in messages[i].pictures)

    kept, tokens = list(range(len(messages))), prompt(range(len(messages)))
    if len(tokens) <= most:
        return Fitted(np.concatenate([tokens, begun]), pictures=pictures(kept))
    whole = len(tokens) + len(begun)
    head = next((i for i in kept if messages[i].role != "system"), len(messages))
    if overflow == "drop_oldest":
        starts = [i for i in kept if messages[i].role == "user" and i > head]

        def since(start: int) -> list[int]:
            return [*range(head), *range(start, len(messages))]

        # Fewer turns are fewer tokens.
        first = bisect.bisect_left(
            starts, True, key=lambda start: len(prompt(since(start))) <= most
        )
        if first < len(starts):
            start = starts[first]
            return Fitted(
                np.concatenate([prompt(since(start)), begun]),
                tuple(range(head, start)),
                pictures=pictures(since(start)),
            )
    if overflow == "slide":
        if pictures(kept):
            raise ValueError(
                "context_overflow: got slide with pictures, of which no part can be left out, "
                "expected refuse or drop_oldest"
            )
        system = template.render(messages[:head])[0] if head else np.zeros(0, np.int32)
        rest = tokens[len(system) :]
        room = most - len(system)
        if room > 0:
            slid = np.concatenate([system, rest[-room:], begun])
            return Fitted(slid, cut=len(rest) - room)
    said = "" if overflow == "refuse" else f" even with overflow {overflow}"
    raise ContextExceeded(
        f"conversation: got {whole} tokens{said}, expected at most {context_length - reserved}, "
        f"the model's context of {context_length} less {reserved} for the reply"
    )
