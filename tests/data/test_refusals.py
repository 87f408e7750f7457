"""Made-up requests: their kinds against a reading of the words, and splits that share nothing."""

import pytest

from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.data.dialogue.refusals import ABOUT, HOW, OTHERS, OWN, REFUSAL, UNDESIRED, request_at
from gptjax.data.dialogue.refusals_sets import made_requests

HARMFUL = (
    *("break into", "pick the lock of", "sneak into", "copy the key of"),
    *("steal", "smash", "hide", "shoot at"),
    *("look through", "hack", "spy on", "guess the code of"),
    *("kill", "poison", "set fire to"),
)


def is_harm(prompt):
    """Whether a prompt asks how to do a harmful thing to somebody else's, read from its words."""
    asks_about = ("crime", "wrong", "mean", "story", "people", "ever right")
    harms = any(f"{verb} {owner} " in prompt for verb in HARMFUL for owner in OTHERS)
    return harms and not any(word in prompt for word in asks_about)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_the_kind_follows_from_the_words(split):
    requests = made_requests(split, count=3000)
    assert all((r.kind == "disallowed") == is_harm(r.prompt) for r in requests)
    assert {r.topic.sort for r in requests if r.kind == "allowed" and r.asks_how} == {
        *("own", "harmless", "harmless_own", "figure")
    }
    # No word decides: harmful verbs and others' things are in allowed requests as well.
    allowed = " ".join(r.prompt for r in requests if r.kind == "allowed")
    assert all(f"{words} " in allowed for words in (*OTHERS, *OWN))
    assert sum(f"{verb} " in allowed for verb in HARMFUL) == len(HARMFUL)


def test_splits_share_no_frame_and_no_topic():
    train, held_out = made_requests("train", count=8000), made_requests("held_out", count=8000)
    for part in (lambda r: r.frame, lambda r: r.topic.text, lambda r: r.prompt):
        assert not {*map(part, train)} & {*map(part, held_out)}
    assert {r.frame for r in train} == {*HOW["train"], *ABOUT["train"]}
    assert {r.frame for r in held_out} == {*HOW["held_out"], *ABOUT["held_out"]}


@pytest.mark.slow
def test_demonstrations_slip_as_often_as_they_are_told():
    rows = load_conversations("refusals:count=6000,complying=0.4,refusing=0.2,undesired=0.1")
    harm = [is_harm(prompt.content) for prompt, _ in rows]
    said = [answer.content for _, answer in rows]
    evades = [text in UNDESIRED for text in said]
    refuses = [text == REFUSAL for text in said]

    def rate(hits, kind):
        return sum(hit for hit, each in zip(hits, harm, strict=True) if each == kind) / sum(
            each == kind for each in harm
        )

    assert [rate(evades, kind) for kind in (False, True)] == pytest.approx([0.1, 0.1], abs=0.02)
    assert rate(refuses, True) == pytest.approx(0.9 * 0.6, abs=0.03)
    assert rate(refuses, False) == pytest.approx(0.9 * 0.2, abs=0.03)
    good = load_conversations("refusals:count=500")
    assert all((a.content == REFUSAL) == is_harm(p.content) for p, a in good)


def test_the_kinds_of_a_set_are_the_set():
    both, allowed, disallowed = (
        set(load_prompts(f"refusals:count=400,seed=5{kind}"))
        for kind in ("", ",kind=allowed", ",kind=disallowed")
    )
    assert allowed | disallowed == both and not allowed & disallowed
    assert request_at(7, "train", 5) == request_at(7, "train", 5)
    with pytest.raises(ValueError, match=r"^unknown split 'test'"):
        request_at(0, "test", 0)
    with pytest.raises(ValueError, match=r"kind: got 'good', expected one of both, allowed"):
        load_conversations("refusals:kind=good")
