"""A session in the terminal: turns, commands, what is kept, and what is said of mistakes."""

import json

import pytest

from gptjax.chat.replies import Sampling
from gptjax.chat.terminal import Session
from gptjax.data.dialogue.conversations import load_conversations
from tests.support.chat_models import chat_model


@pytest.fixture(scope="module")
def model():
    return chat_model()


class Heard:
    """A session, and what it wrote and noted."""

    def __init__(self, model, **options):
        self.written, self.notes = [], []
        options = {"sampling": Sampling(0.0), "max_new_tokens": 4} | options
        self.session = Session(model, self.written.append, self.notes.append, **options)

    def __call__(self, *lines):
        return [self.session.hear(line) for line in lines]

    @property
    def roles(self):
        return "".join(message.role[0] for message in self.session.dialogue.messages)


def greedy(model, messages) -> str:
    """The reply to a conversation, from nothing."""
    marks = model.template.tokenizer
    request = model.generator.submit(
        model.template.prompt(messages),
        max_new_tokens=4,
        sampler=Sampling(0.0).sampler(model, marks.outside_answers),
        stop_token=marks.end_of_turn,
    )
    return model.template.response(request.result())[0]


def test_turns_are_answered_with_all_that_was_said(model):
    heard = Heard(model, system="be brief")
    assert heard("one", "two", "three") == [True] * 3
    messages = heard.session.dialogue.messages
    assert heard.roles == "suauaua"
    for i in (2, 4, 6):
        assert messages[i].content == greedy(model, messages[:i])


def test_undo_retry_reset_and_system(model):
    heard = Heard(model, sampling=Sampling(1.0), seed=5)
    heard("one", "two")
    first = heard.session.dialogue.messages[-1].content
    heard("/retry")
    assert heard.roles == "uaua" and heard.session.dialogue.messages[-1].content != first
    heard("/undo")
    assert heard.roles == "ua" and heard.notes[-1] == "taken back: two"
    heard("/system speak")
    assert heard.roles == "sua"
    heard("/reset")
    assert heard.roles == "s"
    heard("/system")
    assert heard.roles == "" and heard("/undo") == [False]


def test_a_kept_conversation_goes_on_and_is_a_set_to_learn_from(model, tmp_path):
    heard = Heard(model)
    heard("one", f"/save {tmp_path / 'kept.jsonl'}", "/reset", f"/load {tmp_path / 'kept.jsonl'}")
    assert heard.roles == "ua"
    (learned,) = load_conversations(f"jsonl:{tmp_path / 'kept.jsonl'}")
    assert learned == heard.session.dialogue.turns
    (tmp_path / "bad.jsonl").write_text(json.dumps({"messages": [{"role": "user"}]}))
    before = heard.session.dialogue.turns
    assert heard(f"/load {tmp_path / 'bad.jsonl'}", "/load nowhere.jsonl") == [False, False]
    assert heard.session.dialogue.turns == before and "bad.jsonl" in heard.notes[-2]


def test_how_replies_are_chosen_is_set_by_commands(model):
    heard = Heard(model)
    assert heard("/beam 2", "/beam 0", "/best 3", "/temperature 0.5") == [True] * 4
    assert heard.notes == [
        "num_beams=2",
        "temperature=0",
        "best_of=3, temperature=0",
        *heard.notes[3:],
    ]
    assert heard.notes[3] == "best_of=3, temperature=0.5"
    heard("/best 0", "/beam 2", "hello")
    assert heard.roles == "ua"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/temprature 1", "did you mean '/temperature'"),
        ("/temperature hot", "expected a number"),
        ("/temperature -1", "temperature: got -1"),
        ("/beam many", "expected a whole number"),
        ("/best 2 nobody", "rank_by: got 'nobody'"),
        ("/overflow all", "unknown overflow"),
        ("/save", "got no file"),
        ("x" * 200, "conversation: got 220 tokens"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(model, line, said):
    heard = Heard(model)
    heard("one")
    before = heard.session.dialogue.turns
    assert heard(line) == [False]
    assert said in heard.notes[-1] and heard.session.dialogue.turns == before


def test_a_retry_that_cannot_be_done_keeps_the_reply_that_was(model):
    heard = Heard(model, overflow="drop_oldest")
    heard("one", f"/system {'x' * 90}")
    before = heard.session.dialogue.turns
    assert heard("/retry") == [False] and heard.session.dialogue.turns == before
    assert heard("two", "/system") == [False, True] and heard.roles == "ua"


def test_dropped_turns_and_cut_replies_are_said(model):
    heard = Heard(model, overflow="drop_oldest", max_new_tokens=30)
    heard("a" * 20, "b" * 20, "c" * 20)
    assert any("messages no longer fit" in note for note in heard.notes)
    assert heard.notes.count("[cut: length]") == 3


def test_an_interrupted_reply_is_kept_as_far_as_it_came(model):
    heard = Heard(model, max_new_tokens=20)
    pieces = []

    def interrupt(piece):
        pieces.append(piece)
        if len(pieces) == 2:
            raise KeyboardInterrupt

    heard.session._write = interrupt
    assert heard("one") == [True]
    assert heard.roles == "ua" and heard.session.dialogue.messages[-1].content == "".join(pieces)
    assert heard.notes == ["\n[stopped]"]
