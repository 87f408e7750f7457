"""What people send is checked whole: good bodies are kept as they are, bad ones have one line."""

import pytest

from gptjax.data.dialogue.chat_format import Message
from gptjax.data.feedback.records import (
    FieldError,
    Labels,
    RankedReplies,
    Reply,
    kept_conversation,
    ranked_replies,
    vote,
)
from tests.support.said import prompt, ranking, reply, talk, thumb

THREE = {"a": 2, "b": 1, "": 2}


def test_a_ranking_is_kept_as_it_was_sent():
    said = ranking("q", THREE, labels=[{"harmful": True}, {}, {"hallucination": False}])
    said |= {"labeller": "ann", "anonymous": True}
    assert ranked_replies(said) == RankedReplies(
        (Message("user", "q"),),
        (Reply("a", "sft", ""), Reply("b", "ppo", ""), Reply("", "sft", "")),
        (2, 1, 2),
        (Labels(None, True, None), Labels(), Labels(None, None, False)),
        "ann",
        True,
    )


def test_what_may_be_left_out():
    ranked = ranked_replies(ranking("q", {"a": 1, "b": 1}, labels=None, labeller=""))
    assert (ranked.labels, ranked.labeller, ranked.anonymous) == ((Labels(),) * 2, None, False)
    assert vote(thumb("q", "a", -1) | {"reply": {"text": "", "model": "m", "policy": None}})
    assert kept_conversation(talk("q", "a", "and?")).messages[2] == Message("user", "and?")


def of(base, **changes):
    return base | changes


PAIR, THUMB, TALK = ranking("q", {"a": 1, "b": 2}), thumb("q", "a", 1), talk("q", "a")
WRONG = [
    (ranked_replies, [PAIR], "ranking", "got [{'prompt': "),
    (ranked_replies, {}, "ranking", "got no fields, expected a field 'prompt'"),
    (ranked_replies, of(PAIR, labeler="x"), "ranking", "unknown field 'labeler' (did you mean 'l"),
    (ranked_replies, of(PAIR, prompt="q"), "prompt", "got 'q', expected a list of 1 to 1000"),
    (ranked_replies, of(PAIR, prompt=[]), "prompt", "got 0, expected a list of 1 to 1000"),
    (
        ranked_replies,
        of(PAIR, prompt=[{"role": "tool", "content": ""}]),
        "prompt[0].role",
        "got 'tool', expected system, user, assistant",
    ),
    (
        ranked_replies,
        of(PAIR, prompt=[{"role": "user", "content": None}]),
        "prompt[0].content",
        "got null, expected a text",
    ),
    (ranked_replies, of(PAIR, prompt=TALK["messages"]), "prompt", "got an assistant's message at"),
    (
        ranked_replies,
        of(PAIR, replies=[reply("a")]),
        "replies",
        "got 1, expected a list of 2 to 32",
    ),
    (ranked_replies, of(PAIR, replies=[reply("a"), 3]), "replies[1]", "got 3, expected an object"),
    (
        ranked_replies,
        of(PAIR, replies=[reply("a"), reply("b", "")]),
        "replies[1].model",
        "got an empty text, expected a name",
    ),
    (
        ranked_replies,
        of(PAIR, replies=[reply("a"), reply("b", "m", "x" * 201)]),
        "replies[1].policy",
        "got 201 characters, expected at most 200",
    ),
    (
        ranked_replies,
        of(PAIR, replies=[reply("a"), reply("b", "m\0")]),
        "replies[1].model",
        "got the character U+0000",
    ),
    (
        ranked_replies,
        of(PAIR, replies=[reply("a"), reply("\ud83d")]),
        "replies[1].text",
        "got the character U+D83D",
    ),
    (ranked_replies, of(PAIR, ranks=[1]), "ranks", "got 1 for 2 replies, expected a list of as m"),
    (ranked_replies, of(PAIR, ranks=[1, True]), "ranks[1]", "got True, expected a whole number of"),
    (
        ranked_replies,
        of(PAIR, ranks=[0, 1]),
        "ranks[0]",
        "got 0, expected a whole number of 1 to 2",
    ),
    (
        ranked_replies,
        of(PAIR, replies=[reply("a"), reply("a", "ppo")]),
        "ranks[1]",
        "got 2 and 1 for replies of the same text, expected a tie",
    ),
    (ranked_replies, of(PAIR, labels=[{}]), "labels", "got 1 for 2 replies"),
    (ranked_replies, of(PAIR, labels=[{}, {"evil": True}]), "labels[1]", "unknown field 'evil'"),
    (
        ranked_replies,
        of(PAIR, labels=[{}, {"harmful": 1}]),
        "labels[1].harmful",
        "got 1, expected true or false",
    ),
    (ranked_replies, of(PAIR, anonymous=None), "anonymous", "got null, expected true or false"),
    (ranked_replies, of(PAIR, labeller=7), "labeller", "got 7, expected a text"),
    (vote, of(THUMB, vote=0), "vote", "got 0, expected 1 or -1"),
    (vote, of(THUMB, vote=1.0), "vote", "got 1.0, expected 1 or -1"),
    (vote, {"vote": 1}, "vote", "got fields vote, expected a field 'prompt'"),
    (kept_conversation, of(TALK, messages=prompt("q")), "messages", "got none of an assistant"),
    (
        kept_conversation,
        of(TALK, messages=prompt("q" * 1_000_001)),
        "messages[0].content",
        "got 1000001 characters",
    ),
]


@pytest.mark.parametrize(("read", "body", "field", "message"), WRONG)
def test_bad_bodies(read, body, field, message):
    with pytest.raises(FieldError) as caught:
        read(body)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: {message}") and "\n" not in str(caught.value)
