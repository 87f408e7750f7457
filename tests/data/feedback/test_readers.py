"""votes:STORE as rankings, conversations and prompts, beside the same rows by hand as jsonl:."""

import json

import pytest

from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.held_out import hold_out
from gptjax.data.dialogue.preferences import load_rankings
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.data.feedback.opening import open_store
from gptjax.data.feedback.records import kept_conversation, ranked_replies, vote
from tests.support.said import ranking, talk, thumb


@pytest.fixture
def fill(tmp_path):
    """Returns a function that adds bodies to a store, and gives its specification."""

    def fill(*bodies, name="feedback"):
        with open_store(f"{tmp_path}/{name}.db", create=True) as store:
            for body in bodies:
                read = (
                    ranked_replies
                    if "ranks" in body
                    else vote
                    if "vote" in body
                    else kept_conversation
                )
                store.add(read(body))
        return f"votes:{tmp_path}/{name}.db"

    return fill


@pytest.fixture
def by_hand(tmp_path):
    """Returns a function that writes rows of JSON, and gives their specification."""

    def write(*rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return f"jsonl:{path}"

    return write


def answered(asked, *texts):
    roles = ("assistant", "user")
    said = (Message(roles[i % 2], text) for i, text in enumerate(texts))
    return (Message("user", asked), *said)


def test_rankings_are_those_of_the_same_rows_by_hand(fill, by_hand):
    """Ties stay ties; a second annotator of the same replies joins the first, in his order."""
    spec = fill(
        thumb("q", "c", 1),
        ranking("q", {"a": 2, "b": 1, "c": 2}, labeller="ann"),
        ranking("other", {"a": 1, "b": 2}),
        ranking("q", {"c": 1, "a": 3, "b": 2}, labeller="bob"),
        ranking("q", {"a": 1, "b": 2}, labeller="ann"),  # of fewer replies: another ranking
        talk("q", "a"),
    )
    rows = by_hand(
        {"prompt": "q", "responses": ["a", "b", "c"], "ranks": [[2, 1, 2], [3, 2, 1]]},
        {"prompt": "other", "responses": ["a", "b"], "ranks": [1, 2]},
        {"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2]},
    )
    assert load_rankings(spec).items == load_rankings(rows).items
    assert load_rankings(spec).content_hash() == load_rankings(rows).content_hash()


def test_the_last_word_of_a_labeller_counts(fill):
    """Of those without a name each counts. Replies that are all the same say nothing."""
    changed = [ranking("q", {"a": a, "b": 3 - a}, labeller=who) for a in (1, 2) for who in "xy"]
    unknown = [ranking("q", {"a": 1, "b": 1})] * 2
    same = ranking("q", {"a": 1, "b": 1})
    for each in same["replies"]:
        each["text"] = "a"
    three = ranking("p", {"a": 1, "b": 2, "c": 2})
    three["replies"][2]["text"] = "b"  # one reply, by two models
    records = load_rankings(fill(*changed, *unknown, same, three))
    assert [(each.responses, each.ranks) for each in records] == [
        (("a", "b"), ((2, 1), (2, 1), (1, 1), (1, 1))),
        (("a", "b"), ((1, 2),)),
    ]
    assert records.dropped == {
        "rankings that their labeller has changed": 2,
        "rankings of one and the same answer": 1,
    }


def test_conversations_are_what_was_kept_or_liked(fill):
    records = load_conversations(
        fill(
            thumb("q", "liked", 1),
            thumb("q", "disliked", -1),
            thumb("q", "both", 1, "ann"),
            thumb("q", "both", -1, "bob"),
            thumb("q", "changed", -1, "ann"),
            thumb("q", "changed", 1, "ann"),
            talk("q", "liked"),
            talk("q", "liked", "and?", "so", "why?"),
            talk("q", "disliked", "and?", "so"),
            talk("q", "both", "and?", "so"),
        )
    )
    assert list(records) == [
        answered("q", "liked"),
        answered("q", "changed"),
        answered("q", "liked", "and?", "so", "why?"),
        answered("q", "both", "and?", "so"),
    ]
    assert records.dropped == {
        "replies that are not liked": 2,
        "conversations that came before": 1,
        "conversations with a reply that is disliked": 1,
    }


def test_a_reply_that_is_called_harmful_is_not_learned(fill):
    """Of one labeller the last word counts; the same text to another prompt is another reply."""

    def flags(asked, text, harmful, who):
        labels = [{"harmful": harmful}, {"hallucination": True}]
        return ranking(asked, {text: 1, "other": 2}, labels=labels, labeller=who)

    records = load_conversations(
        fill(
            thumb("q", "bad", 1),
            flags("q", "bad", True, "ann"),
            flags("q", "bad", False, "bob"),
            talk("q", "bad", "and?", "so"),
            flags("q", "good", True, "ann"),
            flags("q", "good", False, "ann"),
            thumb("q", "good", 1),
            thumb("elsewhere", "bad", 1),
            thumb("q", "other", 1),
        )
    )
    assert list(records) == [
        answered("q", "good"),
        answered("elsewhere", "bad"),
        answered("q", "other"),
    ]
    assert records.dropped == {"conversations with a reply that is called harmful": 2}


def test_prompts_are_those_of_all_submissions_each_once(fill):
    spec = fill(
        talk("b", "x", "then?", "y"),
        ranking("a", {"x": 1, "y": 2}),
        thumb("a", "x", -1),
        thumb("c", "x", -1),
    )
    assert list(load_prompts(spec)) == [
        answered("b", "x", "then?"),
        answered("a"),
        answered("c"),
    ]


def test_a_number_reads_the_same_when_more_has_come(fill):
    loads = (load_rankings, load_conversations, load_prompts)
    spec = fill(ranking("q", {"a": 1, "b": 2}), thumb("q", "a", 1))
    before = [load(spec).content_hash() for load in loads]
    fill(ranking("q", {"a": 2, "b": 1}), thumb("q", "c", 1), talk("new", "x"))
    assert [load(f"{spec}#2").content_hash() for load in loads] == before
    assert not {load(f"{spec}#5").content_hash() for load in loads} & set(before)
    with pytest.raises(
        ValueError, match=r"feedback.db#6': got #6, expected at most #5, the last s"
    ):
        load_rankings(f"{spec}#6")


def test_a_mark_in_the_name_of_a_file_is_part_of_it(fill):
    spec = fill(ranking("q", {"a": 1, "b": 2}), name="run#7")
    path = spec.removesuffix(".db")
    with open_store(path.removeprefix("votes:"), create=True) as store:
        store.add(ranked_replies(ranking("q", {"c": 1, "d": 2})))
    assert load_rankings(path)[0].responses == ("c", "d")


def test_new_votes_move_no_old_ones_between_training_and_held_out(fill):
    """Nor does a second ranking of an old prompt, or a longer conversation that begins alike."""
    old = [ranking(f"prompt {i}", {"a": 1, "b": 2}) for i in range(40)]
    new = [ranking(f"later {i}", {"a": 1, "b": 2}) for i in range(60)]
    new += [ranking(f"prompt {i}", {"a": 2, "b": 1, "c": 3}) for i in range(0, 40, 3)]

    def sides(spec):
        halves = hold_out(load_rankings(spec), lambda one: one.prompt, 0.3)
        return [{one.prompt[0].content for one in half} for half in halves]

    (left, held_out), (left_later, held_out_later) = sides(fill(*old)), sides(fill(*new))
    assert left <= left_later and held_out <= held_out_later
    assert len(left) + len(held_out) == 40 and not left_later & held_out_later
    assert min(map(len, (left, held_out))) > 5


@pytest.mark.parametrize("load", [load_rankings, load_conversations, load_prompts])
def test_a_set_without_anything_in_it(fill, load):
    with pytest.raises(ValueError, match=r"^'votes:.*feedback.db': got 0 rows, expected at least"):
        load(fill())
    with pytest.raises(ValueError, match=r"^no store of feedback at 'nowhere.db'; expected a path"):
        load("votes:nowhere.db")
