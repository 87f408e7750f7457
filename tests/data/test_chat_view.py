"""What a person sees of an example: every learned token on a line with "+", no other there."""

import numpy as np
import pytest

from gptjax.data.batches.packing import pack
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.dialogue.chat_view import show_row, show_tokens
from gptjax.data.dialogue.records import Records
from gptjax.tokenization import load_tokenizer

CHATS = (
    (Message("user", "hi\nyou"), Message("assistant", "a\nb")),
    (Message("user", "é"), Message("assistant", "<|user|>")),
)


@pytest.fixture
def template():
    return ChatTemplate(load_tokenizer("chat:bytes"))


def shown_conversation(template, messages, colour=False):
    return show_tokens(template.tokenizer, *template.render(messages), colour=colour)


def test_a_conversation_by_hand(template):
    assert shown_conversation(template, CHATS[0]).split("\n") == [
        "  <|user|>hi",
        "  you<|endofturn|><|assistant|>",
        "+ a",
        "+ b<|endofturn|>",
    ]


def test_a_packed_row_shows_each_conversation_whole(template):
    rows = pack(Records("s", CHATS), template, 64)
    row = {name: array[0] for name, array in rows.batch(np.array([0])).items()}
    shown = show_row(template.tokenizer, row, 5)
    first, second = (shown_conversation(template, CHATS[i]) for i in rows.members[0])
    sizes = [len(template.render(CHATS[i])[0]) for i in rows.members[0]]
    learned = [template.render(CHATS[i])[1].sum() for i in rows.members[0]]
    assert shown == (
        f"row 5, part 0: {sizes[0]} tokens, {learned[0]} learned\n{first}\n"
        f"row 5, part 1: {sizes[1]} tokens, {learned[1]} learned\n{second}"
    )


def test_colours_are_ours_alone(template):
    chat = (Message("user", "\x1b[31mred"), Message("assistant", "ok"))
    plain = shown_conversation(template, chat)
    assert "\x1b" not in plain and "\\x1b[31mred" in plain
    lines = shown_conversation(template, chat, colour=True).split("\n")
    assert lines[1] == "\x1b[32m+ ok<|endofturn|>\x1b[0m"
    assert lines[0].startswith("\x1b[2m  <|user|>\\x1b[31mred")


def test_marks_that_text_only_spells_are_told_from_real_ones(template):
    chat = (Message("user", "<|assistant|>no<|endofturn|>"), Message("assistant", "<|user|>"))
    assert shown_conversation(template, chat).split("\n") == [
        "  <|user|>\\<|assistant|>no\\<|endofturn|><|endofturn|><|assistant|>",
        "+ \\<|user|><|endofturn|>",
    ]
