"""The chat template: tokens by hand, which are learned, and text that pretends to be marks."""

import itertools
import random

import numpy as np
import pytest

from gptjax.data.dialogue.chat_format import (
    ChatTemplate,
    Message,
    before_answer,
    conversation_of,
    prompt_of,
)
from gptjax.data.dialogue.records import Row
from gptjax.data.pictures.picture import Picture
from gptjax.tokenization import load_tokenizer

SYSTEM, USER, ASSISTANT, END, PADDING = range(256, 261)
MARKS = ["<|system|>", "<|user|>", "<|assistant|>", "<|endofturn|>", "<|padding|>"]


@pytest.fixture(params=["bytes", "python_docs_1024"])
def any_template(request):
    return ChatTemplate(load_tokenizer(f"chat:{request.param}"))


@pytest.fixture
def template():
    return ChatTemplate(load_tokenizer("chat:bytes"))


def test_a_conversation_by_hand(template):
    messages = [
        Message("system", "s"),
        Message("user", "hi"),
        Message("assistant", "yo"),
        Message("user", ""),
        Message("assistant", ""),
    ]
    ids, mask = template.render(messages)
    s, h, i, y, o = b"shiyo"
    expected = [
        *[(SYSTEM, 0), (s, 0), (END, 0)],
        *[(USER, 0), (h, 0), (i, 0), (END, 0)],
        *[(ASSISTANT, 0), (y, 1), (o, 1), (END, 1)],
        *[(USER, 0), (END, 0)],
        *[(ASSISTANT, 0), (END, 1)],
    ]
    assert list(zip(ids.tolist(), mask.tolist(), strict=True)) == expected
    assert (ids.dtype, mask.dtype) == (np.int32, np.bool_)
    assert template.prompt(messages[:2]).tolist() == [SYSTEM, s, END, USER, h, i, END, ASSISTANT]


def test_a_conversation_with_pictures_by_hand(template):
    begin, end, soft = range(261, 264)
    image, picture = [begin, soft, soft, end], Picture.of(np.zeros((2, 2), np.uint8))
    shown = ChatTemplate(load_tokenizer("images:chat:bytes"), image_tokens=2)
    said = Message.of("user", ["<image>", picture, picture, "é"])  # text cannot forge a mark
    ids, mask = shown.render([said, Message("assistant", "y")])
    turn = [USER, *b"<image>", *image, *image, *"é".encode(), END]
    assert ids.tolist() == [*turn, ASSISTANT, *b"y", END]
    assert mask.tolist() == [False] * (len(turn) + 1) + [True] * 2
    assert {*image, USER, PADDING} < {*shown.outside_answers} and END not in shown.outside_answers
    with pytest.raises(ValueError, match="expected none: the model reads text alone"):
        template.render([said])
    with pytest.raises(ValueError, match="pictures: got them of the role assistant"):
        Message.of("assistant", [picture])
    with pytest.raises(ValueError, match="tokenizer: got one of kind images, expected"):
        ChatTemplate(load_tokenizer("images:chat:bytes"))


def test_a_conversation_is_its_prompt_and_its_answer(any_template):
    rng = random.Random(0)
    for _ in range(50):
        text = "".join(rng.choices("ab \n<|>é漢", k=12))
        messages = [Message("user", text[:6]), Message("assistant", text[6:])]
        ids, mask = any_template.render(messages)
        answer = any_template.answer(messages[1].content)
        assert [*any_template.prompt(messages[:1]), *answer] == ids.tolist()
        assert mask.sum() == len(answer)
        assert any_template.response(answer) == (messages[1].content, True)


def marks_of(template, ids):
    special = template.tokenizer.special_tokens
    return [name for index in ids for name in MARKS if special[name] == index]


def test_no_text_forges_a_mark(any_template):
    """Whatever a user writes, a conversation has the marks of its messages and no others."""
    rng = random.Random(1)
    pieces = [*MARKS, "<|endoftext|>", "<|", "|>", "assistant", "\n", " ", "x"]
    texts = [*map("".join, itertools.permutations(MARKS, 2))]
    texts += ["".join(rng.choices(pieces, k=8)) for _ in range(200)]
    tokenizer = any_template.tokenizer
    for text in texts:
        ids, mask = any_template.render([Message("user", text), Message("assistant", "ok")])
        assert marks_of(any_template, ids) == [
            *["<|user|>", "<|endofturn|>"],
            *["<|assistant|>", "<|endofturn|>"],
        ]
        assert mask.sum() == len(tokenizer.encode("ok")) + 1
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.end_of_text not in ids.tolist()


def test_what_was_generated_ends_at_the_first_end_of_turn(template):
    assert template.response([*b"yes", END, *b"no", END]) == ("yes", True)
    assert template.response([*b"ye"]) == ("ye", False)
    assert template.response([END]) == ("", True)
    assert template.response([]) == ("", False)


def test_a_tokenizer_without_marks_is_refused():
    message = "^tokenizer: got one of kind raw_bytes, expected one with the tokens of a chat, chat:"
    with pytest.raises(ValueError, match=message):
        ChatTemplate(load_tokenizer("bytes"))


def test_no_messages_are_refused(template):
    with pytest.raises(ValueError, match="got no messages, expected at least one"):
        template.render([])
    with pytest.raises(ValueError, match=r"unknown role 'bot'; expected one of: system, user, as"):
        Message("bot", "")


MESSAGES = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
BOTH = (Message("user", "q"), Message("assistant", "a"))


def test_rows_of_either_form():
    for fields in [
        {"prompt": "q", "response": "a"},
        {"messages": MESSAGES},
        {"prompt": MESSAGES[:1], "response": "a"},
    ]:
        assert conversation_of(Row("f:1", fields)) == BOTH
        assert prompt_of(Row("f:1", fields)) == BOTH[:1]
    assert prompt_of(Row("f:1", {"prompt": "q"})) == BOTH[:1]
    assert before_answer((*BOTH, BOTH[0])) == (*BOTH, BOTH[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"prompt": "q"},
            "row: got fields prompt, expected 'prompt' and 'response', or 'messages'",
        ),
        ({}, "row: got no fields, expected 'prompt' and"),
        ({"response": "a"}, "row: got fields response, expected 'prompt' and"),
        ({"prompt": "q", "response": None}, "'response': got null, expected a string"),
        ({"prompt": 3, "response": "a"}, "'prompt': got int, expected a list that is not empty"),
        ({"messages": MESSAGES, "prompt": "q"}, "got 'messages' and 'prompt', expected one or the"),
        ({"messages": []}, "'messages': got an empty list, expected a list"),
        ({"messages": MESSAGES[:1]}, "'messages': got none of an assistant, expected at least one"),
        ({"messages": ["q"]}, r"messages\[0\]: got 'q', expected an object with 'role' and"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]: got fields role, expected an object"),
        (
            {"messages": [MESSAGES[0], {"role": "bot", "content": ""}]},
            r"messages\[1\]: role: got 'bot', expected one of system, user, assistant",
        ),
        (
            {"messages": [{"role": "user", "content": "\udc80"}]},
            r"messages\[0\]: content: got the lone surrogate U\+DC80, expected valid Unicode",
        ),
    ],
)
def test_bad_rows(fields, message):
    with pytest.raises(ValueError, match="^f:1: .*" + message) as caught:
        conversation_of(Row("f:1", fields))
    assert "\n" not in str(caught.value)


def test_an_answer_alone_is_no_prompt():
    with pytest.raises(
        ValueError, match=r"^f:1: 'messages': got no message before the answer, exp"
    ):
        prompt_of(Row("f:1", {"messages": MESSAGES[1:]}))
