"""What people say of replies: a ranking of several, a thumb up or down, a conversation to keep.

    ranked = ranked_replies({"prompt": [...], "replies": [{...}, {...}], "ranks": [1, 2]})
    ranked.replies[0].text, ranked.labels[0].harmful

Each is made of a JSON object, which is checked whole. Ouyang et al. 2022 (InstructGPT, arXiv
2203.02155): labelers rank K = 4 to 9 replies (section 3.5); Table 3 has the flags they give.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from gptjax.data.dialogue.chat_format import Conversation, Message
from gptjax.registry import unknown_name
from gptjax.tokenization.chat import ROLES

MOST_REPLIES = 32  # of one ranking
MOST_MESSAGES = 1_000
LONGEST_TEXT = 1_000_000  # characters
LONGEST_NAME = 200  # characters: of a model, a policy, a labeller

_REFUSED = re.compile("[\ud800-\udfff]")  # lone surrogates are no Unicode
_Object = Mapping[str, Any]


class FieldError(ValueError):
    """A field that is not as it should be.

    Attributes:
      field: where it stands, such as "replies[1].text".
    """

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclasses.dataclass(frozen=True)
class Reply:
    """A reply, and who gave it.

    Attributes:
      text: what was said; may be empty.
      model: its name.
      policy: how it was drawn, such as "temperature=0.7"; may be empty.
    """

    text: str
    model: str
    policy: str = ""


@dataclasses.dataclass(frozen=True)
class Labels:
    """What a labeller says of one reply, each true, false, or None where nothing was said.

    Source: InstructGPT, Table 3. follows_instruction is the opposite of its "fails to follow the
    correct instruction / task"; harmful stands for the rows from "contains sexual content" to
    "gives harmful advice".
    """

    follows_instruction: bool | None = None
    harmful: bool | None = None
    hallucination: bool | None = None


LABELS = tuple(field.name for field in dataclasses.fields(Labels))


@dataclasses.dataclass(frozen=True)
class RankedReplies:
    """Replies to one prompt, in a labeller's order.

    Attributes:
      prompt: what is answered.
      replies: K of them, 2 to MOST_REPLIES.
      ranks: K numbers; 1 is the best, equal ones are ties. Replies of the same text have the same.
      labels: K, what is said of each.
      labeller: who it was; None: not known.
      anonymous: whether the names of the models were hidden.
    """

    prompt: Conversation
    replies: tuple[Reply, ...]
    ranks: tuple[int, ...]
    labels: tuple[Labels, ...]
    labeller: str | None = None
    anonymous: bool = False


@dataclasses.dataclass(frozen=True)
class Vote:
    """A thumb: 1 for a reply that is liked, -1 for one that is not."""

    prompt: Conversation
    reply: Reply
    vote: int
    labeller: str | None = None


@dataclasses.dataclass(frozen=True)
class KeptConversation:
    """A conversation that someone kept, with at least one message of an assistant, `model`."""

    messages: Conversation
    model: str
    labeller: str | None = None


def ranked_replies(value: object) -> RankedReplies:
    """Reads {"prompt", "replies", "ranks", "labels"?, "labeller"?, "anonymous"?}.

    Raises:
      FieldError: anything is missing, unknown, or not as `RankedReplies` says.
    """
    fields = _fields(
        "ranking", value, ("prompt", "replies", "ranks"), ("labels", "labeller", "anonymous")
    )
    prompt = _prompt(fields["prompt"])
    given = _list("replies", fields["replies"], 2, MOST_REPLIES)
    replies = tuple(_reply(f"replies[{i}]", reply) for i, reply in enumerate(given))
    ranks = _as_many("ranks", fields["ranks"], len(replies))
    first: dict[str, int] = {}
    for i, (reply, rank) in enumerate(zip(replies, ranks, strict=True)):
        if type(rank) is not int or not 1 <= rank <= len(replies):
            raise FieldError(
                f"ranks[{i}]", f"got {_shown(rank)}, expected a whole number of 1 to {len(replies)}"
            )
        if first.setdefault(reply.text, rank) != rank:
            raise FieldError(
                f"ranks[{i}]",
                f"got {rank} and {first[reply.text]} for replies of the same text, expected a tie",
            )
    labels = fields.get("labels")
    labels = [{}] * len(replies) if labels is None else _as_many("labels", labels, len(replies))
    return RankedReplies(
        prompt,
        replies,
        tuple(ranks),
        tuple(_labels(f"labels[{i}]", one) for i, one in enumerate(labels)),
        _labeller(fields),
        _truth("anonymous", fields.get("anonymous", False)),
    )


def vote(value: object) -> Vote:
    """Reads {"prompt", "reply", "vote", "labeller"?}.

    Raises:
      FieldError: anything is missing, unknown, or not as `Vote` says.
    """
    fields = _fields("vote", value, ("prompt", "reply", "vote"), ("labeller",))
    thumb = fields["vote"]
    if type(thumb) is not int or thumb not in (1, -1):
        raise FieldError("vote", f"got {_shown(thumb)}, expected 1 or -1")
    return Vote(
        _prompt(fields["prompt"]), _reply("reply", fields["reply"]), thumb, _labeller(fields)
    )


def kept_conversation(value: object) -> KeptConversation:
    """Reads {"messages", "model", "labeller"?}.

    Raises:
      FieldError: anything is missing, unknown, or not as `KeptConversation` says.
    """
    fields = _fields("conversation", value, ("messages", "model"), ("labeller",))
    messages = _messages("messages", fields["messages"])
    if all(message.role != "assistant" for message in messages):
        raise FieldError("messages", "got none of an assistant, expected at least one")
    return KeptConversation(messages, _name("model", fields["model"]), _labeller(fields))


def _prompt(value: object) -> Conversation:
    messages = _messages("prompt", value)
    if messages[-1].role == "assistant":
        raise FieldError("prompt", "got an assistant's message at its end, expected a user's")
    return messages


def _messages(field: str, value: object) -> Conversation:
    messages = []
    for i, given in enumerate(_list(field, value, 1, MOST_MESSAGES)):
        fields = _fields(f"{field}[{i}]", given, ("role", "content"))
        if fields["role"] not in ROLES:
            raise FieldError(
                f"{field}[{i}].role", f"got {_shown(fields['role'])}, expected {', '.join(ROLES)}"
            )
        content = _text(f"{field}[{i}].content", fields["content"], LONGEST_TEXT)
        messages.append(Message(fields["role"], content))
    return tuple(messages)


def _reply(field: str, value: object) -> Reply:
    fields = _fields(field, value, ("text", "model"), ("policy",))
    policy = fields.get("policy")
    return Reply(
        _text(f"{field}.text", fields["text"], LONGEST_TEXT),
        _name(f"{field}.model", fields["model"]),
        "" if policy in (None, "") else _name(f"{field}.policy", policy),
    )


def _labels(field: str, value: object) -> Labels:
    fields = _fields(field, value, (), LABELS)
    return Labels(
        **{
            name: None if said is None else _truth(f"{field}.{name}", said)
            for name, said in fields.items()
        }
    )


def _labeller(fields: _Object) -> str | None:
    given = fields.get("labeller")
    return None if given in (None, "") else _name("labeller", given)


def _fields(
    field: str, value: object, wanted: tuple[str, ...], others: tuple[str, ...] = ()
) -> _Object:
    """An object with all the fields that are wanted, and none but them and the others."""
    if not isinstance(value, dict):
        raise FieldError(field, f"got {_shown(value)}, expected an object")
    for name in wanted:
        if name not in value:
            got = f"fields {', '.join(map(str, value))}" if value else "no fields"
            raise FieldError(field, f"got {got[:LONGEST_NAME]}, expected a field {name!r}")
    for name in value:
        if name not in (*wanted, *others):
            raise FieldError(field, str(unknown_name("field", name[:40], (*wanted, *others))))
    return value


def _list(field: str, value: object, least: int, most: int) -> list[Any]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        got = f"{len(value)}" if isinstance(value, list) else _shown(value)
        raise FieldError(field, f"got {got}, expected a list of {least} to {most}")
    return value


def _as_many(field: str, value: object, count: int) -> list[Any]:
    """A list of as many as there are replies."""
    if not isinstance(value, list) or len(value) != count:
        got = f"{len(value)}" if isinstance(value, list) else _shown(value)
        raise FieldError(field, f"got {got} for {count} replies, expected a list of as many")
    return value


def _name(field: str, value: object) -> str:
    if value == "":
        raise FieldError(field, "got an empty text, expected a name")
    name = _text(field, value, LONGEST_NAME)
    if "\0" in name:  # texts may hold it, and columns of PostgreSQL may not
        raise FieldError(field, "got the character U+0000, expected others")
    return name


def _text(field: str, value: object, longest: int) -> str:
    if not isinstance(value, str):
        raise FieldError(field, f"got {_shown(value)}, expected a text")
    if len(value) > longest:
        raise FieldError(field, f"got {len(value)} characters, expected at most {longest}")
    if found := _REFUSED.search(value):
        raise FieldError(field, f"got the character U+{ord(found[0]):04X}, expected others")
    return value


def _truth(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise FieldError(field, f"got {_shown(value)}, expected true or false")
    return value


def _shown(value: object) -> str:
    return "null" if value is None else repr(value)[:60]
