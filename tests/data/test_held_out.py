import hashlib
import itertools

import pytest

from gptjax.data.corpora.text import Corpus, Document
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


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_of_few_one_is_on_each_side(fraction):
    sides = [{chat[1].content for chat in side} for side in split(CHATS[:50], fraction)]
    assert sorted(map(len, sides)) == [1, 49]
    assert len(sides[1]) == (1 if fraction < 0.5 else 49)


@pytest.mark.parametrize(("fraction", "side"), [(1e-9, "held out"), (1 - 1e-9, "left")])
def test_an_empty_side_is_refused(fraction, side):
    alike = [CHATS[0], CHATS[50]]
    with pytest.raises(ValueError, match=f"'chats': got 2 rows, none of them {side}") as error:
        split(alike, fraction)
    assert "\n" not in str(error.value)


def test_the_split_depends_on_the_text_alone():
    documents = [Document(f"name {i}", f"text {i}") for i in range(4000)]
    corpus = Corpus("texts", (), lambda: iter(documents))
    for fraction in (0.0, 0.05, 0.5, 1.0):
        held_out = [corpus.held_out(fraction)(document) for document in documents]
        assert held_out == [
            int(hashlib.sha256(document.text.encode()).hexdigest(), 16) / 2**256 < fraction
            for document in documents
        ]
        assert abs(sum(held_out) / 4000 - fraction) < 0.015
    other = Corpus("others", (), lambda: iter(documents[::-7]))
    rules = corpus.held_out(0.2), other.held_out(0.2)
    assert all(rules[0](document) == rules[1](document) for document in documents[:100])


@pytest.mark.parametrize(("fraction", "count"), [(0.001, 1), (0.999, 7), (0.0, 0), (1.0, 8)])
def test_of_few_documents_one_is_on_each_side(fraction, count):
    documents = [Document(f"name {i}", f"text {i}") for i in range(8)]
    rule = Corpus("texts", (), lambda: iter(documents)).held_out(fraction)
    numbers = {hashlib.sha256(d.text.encode()).hexdigest(): rule(d) for d in documents}
    assert [numbers[digest] for digest in sorted(numbers)] == [i < count for i in range(8)]


def test_what_is_larger_than_all_others_together_is_left():
    """It would leave next to nothing to train on; the next one is held out."""
    short = sorted((Document("", f"text {i}") for i in range(5)), key=lambda each: each.digest)
    long = (Document("", f"text {i} " * 99) for i in itertools.count())
    lowest = next(each for each in long if each.digest < short[0].digest)
    rule = Corpus("texts", (), lambda: iter([lowest, *short])).held_out(1e-9)
    assert [each for each in (lowest, *short) if rule(each)] == short[:1]

    asked = sorted("abcdef", key=lambda text: hashlib.sha256(text.encode()).digest())
    for often, expected in ((6, asked[1]), (5, asked[0])):  # beside five that are asked once
        texts = [*[asked[0]] * often, *asked[1:]]
        records = Records("chats", tuple((Message("user", text),) for text in texts))
        _, held_out = hold_out(records, lambda chat: chat, 1e-9)
        assert {chat[0].content for chat in held_out} == {expected}
