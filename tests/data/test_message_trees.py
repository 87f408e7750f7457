"""A small tree of messages, its conversations and rankings by hand, and bad trees."""

import pytest

from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.message_trees import ranked_answers, threads, tree_of
from gptjax.data.dialogue.records import Row


def node(text, role, *replies, rank=None, **more):
    return {"text": text, "role": role, "rank": rank, "replies": list(replies), **more}


def user(text, *replies, **more):
    return node(text, "prompter", *replies, **more)


def answer(text, *replies, **more):
    return node(text, "assistant", *replies, **more)


TREE = user(
    "q",
    answer("worst", user("why", answer("because"), answer("dunno")), rank=2),
    answer("best", user("thanks"), rank=0),
    answer("gone", rank=1, deleted=True),
    answer("unranked", user("ok", answer("b", rank=1), answer("a", rank=0))),
)


def texts(conversation):
    return " ".join(message.content for message in conversation)


def test_conversations():
    found = list(threads(tree_of(Row("f:1", {"prompt": TREE}))))
    assert list(map(texts, found)) == ["q worst why because", "q best", "q unranked ok a"]
    assert found[1] == (Message("user", "q"), Message("assistant", "best"))
    assert list(threads(tree_of(Row("f:1", TREE)))) == found
    assert list(threads(tree_of(Row("f:1", user("q"))))) == []


def test_rankings():
    found = list(ranked_answers(tree_of(Row("f:1", {"prompt": TREE}))))
    assert [(texts(prompt), answers, ranks) for prompt, answers, ranks in found] == [
        ("q", ("worst", "best"), (2, 0)),
        ("q unranked ok", ("b", "a"), (1, 0)),
    ]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"text": "q"}, "prompt: role: got None, expected one of prompter, assistant"),
        ("q", "prompt: got str, expected a message with 'role' and 'text'"),
        (user("q", answer(3)), r"prompt.replies\[0\]: text: got int, expected a string"),
        (user("q", answer("a", rank="1")), r"prompt.replies\[0\]: rank: got '1', expected an int"),
        (user("q") | {"replies": 3}, "prompt: replies: got int, expected a list"),
        (user("q", "a"), r"prompt.replies\[0\]: got str, expected a message with"),
    ],
)
def test_bad_trees(tree, message):
    with pytest.raises(ValueError, match="^f:1: " + message):
        tree_of(Row("f:1", {"prompt": tree}))
