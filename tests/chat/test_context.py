"""What of a conversation is read: every policy against a plain search, and what is refused."""

import numpy as np
import pytest

from gptjax.chat.context import ContextExceeded, check_roles, fitted
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.tokenization import load_tokenizer

ROLES = {"s": "system", "u": "user", "a": "assistant"}


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate(load_tokenizer("chat:bytes"))


def conversation(roles: str, size: int = 4) -> list[Message]:
    return [Message(ROLES[role], f"{i}" * size) for i, role in enumerate(roles)]


@pytest.mark.parametrize("roles", ["suauau", "uauau", "suuau", "ssuauau"])
@pytest.mark.parametrize("context", range(14, 60, 7))
def test_oldest_turns_are_left_out_as_a_plain_search_says(template, roles, context):
    messages = conversation(roles)
    system = [i for i, role in enumerate(roles) if role == "s"]
    starts = [i for i, role in enumerate(roles) if role == "u"]
    kept = [[*system, *range(start, len(roles))] for start in starts]
    fits = [k for k in kept if len(template.prompt([messages[i] for i in k])) + 3 <= context]
    options = {"context_length": context, "reserved": 3, "overflow": "drop_oldest"}
    if not fits:
        with pytest.raises(ContextExceeded, match=f"expected at most {context - 3}"):
            fitted(template, messages, **options)
        return
    read = fitted(template, messages, **options)
    assert read.tokens.tolist() == template.prompt([messages[i] for i in fits[0]]).tolist()
    assert read.dropped == tuple(i for i in range(len(roles)) if i not in fits[0])


def test_many_turns_are_rendered_a_few_times_only(template, monkeypatch):
    messages, rendered, plain = conversation("ua" * 128 + "u", 1), [], template.render
    monkeypatch.setattr(template, "render", lambda some: rendered.append(1) or plain(some))
    read = fitted(template, messages, context_length=60, overflow="drop_oldest")
    assert 0 < len(read.tokens) < 60 and len(rendered) < 12


def test_sliding_keeps_the_system_message_and_the_last_tokens(template):
    messages = conversation("suau")
    whole = template.prompt(messages)
    system = template.render(messages[:1])[0]
    read = fitted(template, messages, context_length=20, reserved=4, overflow="slide")
    assert len(read.tokens) == 16 and read.cut == len(whole) - 16
    assert read.tokens.tolist() == [*system, *whole[len(whole) - (16 - len(system)) :]]
    with pytest.raises(ContextExceeded):
        fitted(template, messages, context_length=6, reserved=1, overflow="slide")


def test_what_fits_is_whole_and_what_does_not_is_refused(template):
    messages = conversation("sua")[:2]
    tokens = template.prompt(messages)
    begun = np.array([65, 66], np.int32)
    read = fitted(template, messages, context_length=len(tokens) + 3, begun=begun)
    assert read.tokens.tolist() == [*tokens, 65, 66] and read.dropped == ()
    with pytest.raises(ContextExceeded, match=rf"got {len(tokens) + 2} tokens, expected at most"):
        fitted(template, messages, context_length=len(tokens) + 2, begun=begun)
    with pytest.raises(ValueError, match="unknown context overflow 'drop'"):
        fitted(template, messages, context_length=5, overflow="drop")


@pytest.mark.parametrize(
    ("roles", "continued", "said"),
    [
        ("", False, "got none"),
        ("ua", False, "the last one is of role assistant"),
        ("u", True, "expected an assistant's, to be continued"),
        ("sau", False, "before any of a user"),
        ("uaau", False, r"messages\[2\]: got a second message of the assistant"),
    ],
)
def test_roles_out_of_order_are_refused(roles, continued, said):
    with pytest.raises(ValueError, match=said):
        check_roles(conversation(roles), continued)


def test_roles_in_order_are_taken():
    for roles in ("u", "su", "s", "uau", "uu", "suuau", "susu"):
        check_roles(conversation(roles))
    check_roles(conversation("ua"), continued=True)
