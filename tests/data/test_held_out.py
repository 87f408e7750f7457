import pytest

from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.held_out import hold_out
from gptjax.data.dialogue.records import Records

CHATS = tuple(
    (Message("system", "Be kind."), Message("user", f"{i % 50}"), Message("assistant", str(i)))
    for i in range(200)
)


def split(items=CHATS, fraction=0.2):
    return hold_out(Records("chats", items, {"too long": 3}), lambda item: item, fraction)


def test_what_begins_alike_is_on_one_side_and_nothing_is_lost():
    left, held_out = split()
    assert len(left) + len(held_out) == len(CHATS) and {*left, *held_out} == {*CHATS}
    questions = [{chat[1].content for chat in side} for side in (left, held_out)]
    assert questions[0].isdisjoint(questions[1])
    assert 4 <= len(questions[1]) <= 16  # of 50
    assert left.dropped == {"too long": 3} and not held_out.dropped


def test_a_side_does_not_depend_on_the_others_and_grows_with_the_fraction():
    held_out = split()[1]
    assert set(split(CHATS[:100])[1]) == set(held_out) & set(CHATS[:100])
    assert set(held_out) < set(split(fraction=0.6)[1])


@pytest.mark.parametrize(("fraction", "side"), [(1e-9, "held out"), (1 - 1e-9, "left")])
def test_an_empty_side_is_refused(fraction, side):
    with pytest.raises(ValueError, match=f"'chats': got 200 rows, none of them {side}") as error:
        split(fraction=fraction)
    assert "\n" not in str(error.value)
