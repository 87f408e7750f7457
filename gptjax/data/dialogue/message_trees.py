"""Trees of messages, as Open Assistant exports them: conversations, and rankings of answers.

Köpf et al. 2023, "OpenAssistant Conversations" (arXiv 2304.07327), section 2: a prompter's message
has several replies by assistants, which annotators rank, 0 the best, and each of those replies by
prompters, and so on. What is marked as deleted is left out, with all below it.

    read_records(spec, "en_100_tree.jsonl", lambda row: threads(tree_of(row)))
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from gptjax.data.dialogue.chat_format import Conversation, Message
from gptjax.data.dialogue.records import Row

_ROLES = {"prompter": "user", "assistant": "assistant"}


@dataclasses.dataclass(frozen=True)
class Node:
    """A message and its replies.

    Attributes:
      message: what is said.
      rank: its place among the replies to the same message, 0 the best; None if it has none.
      replies: in the order of the file.
    """

    message: Message
    rank: int | None
    replies: tuple["Node", ...]


def tree_of(row: Row) -> Node:
    """Reads a tree, `{"prompt": MESSAGE}`, or its first message alone.

    Raises:
      ValueError: a message without role or text, another role, or a rank that is no integer.
    """
    return _node(row, row.fields.get("prompt", row.fields), "prompt")


def _node(row: Row, fields: Any, where: str) -> Node:
    if not isinstance(fields, dict):
        raise row.wrong(where, type(fields).__name__, "a message with 'role' and 'text'")
    role, rank = fields.get("role"), fields.get("rank")
    if role not in _ROLES:
        raise row.wrong(f"{where}: role", repr(role), f"one of {', '.join(_ROLES)}")
    if rank is not None and type(rank) is not int:
        raise row.wrong(f"{where}: rank", repr(rank), "an integer or null")
    replies = fields.get("replies") or []
    if not isinstance(replies, list):
        raise row.wrong(f"{where}: replies", type(replies).__name__, "a list")
    below = [_node(row, reply, f"{where}.replies[{i}]") for i, reply in enumerate(replies)]
    kept = [node for node, reply in zip(below, replies, strict=True) if not reply.get("deleted")]
    content = row.as_text(f"{where}: text", fields.get("text"))
    return Node(Message(_ROLES[role], content), rank, tuple(kept))


def threads(root: Node) -> Iterator[Conversation]:
    """Yields the conversations to learn from, as long as they are, each ending with an answer.

    The last answer is the best one to its prompt, of the lowest rank, else the first; those before
    are what users went on from. Conversations that share their first turns repeat them.
    """

    def walk(node: Node, above: Conversation) -> Iterator[Conversation]:
        path = (*above, node.message)
        answers = [reply for reply in node.replies if reply.message.role == "assistant"]
        best = min(answers, key=_place, default=None)
        for reply in node.replies:
            longer = list(walk(reply, path))
            yield from longer
            if reply is best and not longer:
                yield (*path, reply.message)

    yield from walk(root, ())


def _place(answer: Node) -> float:
    return float("inf") if answer.rank is None else answer.rank


def ranked_answers(root: Node) -> Iterator[tuple[Conversation, tuple[str, ...], tuple[int, ...]]]:
    """Yields the prompts that have two or more ranked answers: prompt, answers, their ranks."""

    def walk(
        node: Node, above: Conversation
    ) -> Iterator[tuple[Conversation, tuple[str, ...], tuple[int, ...]]]:
        path = (*above, node.message)
        ranked = [
            (reply.message.content, reply.rank)
            for reply in node.replies
            if reply.rank is not None and reply.message.role == "assistant"
        ]
        if len(ranked) > 1:
            answers, ranks = zip(*ranked, strict=True)
            yield path, answers, ranks
        for reply in node.replies:
            yield from walk(reply, path)

    yield from walk(root, ())
