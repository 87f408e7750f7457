"""Filters of chat: what they find and leave, and that a stream ends as the whole text does."""

import random
import re
import unicodedata

import pytest

pytest.importorskip("regex", reason="regex is not installed: extra `serve`")
pytest.importorskip("confusable_homoglyphs", reason="not installed: extra `serve`")

from gptjax.chat.filters.chain import FilterChain, moderation_of
from gptjax.chat.filters.normal_form import NormalForm, confusables

LIST = {"stage": "blocklist", "name": "words", "action": "redact", "category": "plants"}
PLANTS = LIST | {"words": ["rose", "red oak", "oak", "müesli"]}
CODES = {
    "stage": "expressions",
    "name": "codes",
    "action": "redact",
    "patterns": {"code": r"(?<!\d)\d{4}-?\d{2,4}(?!\d)", "mark": "<[a-z]+>"},
}


def chain(*specs, load=None):
    """The chain, and the list of the decisions that it logs."""
    logged = []
    return FilterChain.parse(list(specs), load, logged.append), logged


def left(spec, text):
    return chain(spec)[0].judge(text, "output").text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A rose.", "A [removed]."),
        ("ROSE Rose", "[removed] [removed]"),
        ("roses prose _rose rose2", "roses prose _rose rose2"),
        ("ｒｏｓｅ 𝐫𝐨𝐬𝐞 ⓡⓞⓢⓔ", "[removed] [removed] [removed]"),
        ("r\u200bo\u00ads\u2060e!", "[removed]!"),
        ("rósè r̶ose rose\u0301,", "[removed] [removed] [removed],"),
        ("rоsе, rο\u0455e", "[removed], [removed]"),
        ("a red  \n oak, an oak, red", "a [removed], an [removed], red"),
        ("Muesli MÜESLI mu\u0308esli", "[removed] [removed] [removed]"),
        ("розы и роза", "розы и роза"),
        ("", ""),
    ],
)
def test_a_word_is_found_however_it_is_written(text, expected):
    assert left(PLANTS, text) == expected


def test_other_scripts_are_found_in_both_cases_and_their_marks_count():
    spec = LIST | {"words": ["Вор", "कि", "花"]}
    assert left(spec, "ВОР вор bop") == "[removed] [removed] [removed]"  # the last looks like it
    assert left(spec, "कि क की") == "[removed] क की"
    assert left(spec, "看花了 花") == "看花了 [removed]"
    assert left(spec | {"whole_words": False}, "看花了 вора") == "看[removed]了 [removed]а"


def test_every_look_alike_of_the_table_is_read_as_ascii():
    """Of every letter that Unicode's table gives; a rose of it is a rose."""
    table = confusables()
    assert len(table) > 1000 and all(not c.isascii() for c in table)
    missed = [
        c for c, plain in table.items() if plain == "o" and left(PLANTS, f"r{c}se") != "[removed]"
    ]
    combining = {c for c in missed if unicodedata.category(c).startswith("M")}
    assert set(missed) <= combining


def test_a_form_knows_where_it_came_from():
    text = "a ﬁne\u0301  day"
    form = NormalForm(text, look_alikes=True)
    assert form.text == "a fine day"
    at = form.text.index("fine")
    start, end = form.span(at, at + 4)
    assert text[start:end] == "ﬁne\u0301"
    assert form.origin(len(form.text)) == len(text)
    assert [form.place(i) for i in (0, 2, 3)] == [0, 2, 4]


@pytest.mark.parametrize(
    ("action", "left_of", "stopped"),
    [("redact", "One [removed] two", False), ("end", "One ", True), ("refuse", "", True)],
)
def test_what_a_stage_does_is_configuration(action, left_of, stopped):
    filters, logged = chain(PLANTS | {"action": action, "where": "input"})
    judged = filters.judge("One rose two", "input")
    assert (judged.text, judged.stopped) == (left_of, stopped)
    (decision,) = judged.decisions
    assert logged == [decision]
    assert moderation_of(judged.decisions, choice=1) == [
        {
            **{"where": "input", "stage": "words", "category": "plants", "score": None},
            **{"action": action, "choice": 1},
        }
    ]
    assert filters.judge("One rose two", "output").text == "One rose two"
    assert filters.stream().push("One rose two").text == "One rose two"


def test_a_decision_is_logged_without_the_text(caplog):
    with caplog.at_level("INFO", logger="absl"):
        FilterChain.parse([PLANTS | {"action": "refuse"}]).judge("my rose", "output")
    (record,) = caplog.records
    said = record.getMessage()
    assert said == "filter: output, stage words, category plants, score none: refuse"


def split(text, rng):
    """The text in pieces, some of them empty."""
    cuts = sorted(rng.choices(range(len(text) + 1), k=rng.randint(0, 12)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def streamed(filters, pieces):
    stream, shown = filters.stream(), []
    for piece in pieces:
        shown.append(stream.push(piece).text)
    last = stream.finish()
    return "".join(shown) + last.text, stream


def oracle(text):
    """The two stages on plain text, with the standard library alone."""
    words = re.sub(r"(?<!\w)(red\s+oak|rose|oak|m(ü|u)esli)(?!\w)", "[removed]", text, flags=re.I)
    return re.sub(r"(?<!\d)\d{4}-?\d{2,4}(?!\d)|<[a-z]+>", "[removed]", words)


def test_a_stream_shows_what_is_left_of_the_whole_text_however_it_comes():
    rng = random.Random(0)
    filters, _ = chain(PLANTS, CODES)
    parts = [
        "rose",
        "red",
        "oak",
        "oaks",
        " ",
        " ",
        "  ",
        ",",
        "1234",
        "-",
        "99",
        "5",
        "<a",
        ">",
        "müesli",
    ]
    for _ in range(300):
        text = "".join(rng.choices(parts, k=rng.randint(1, 12)))
        expected = oracle(text)
        assert filters.judge(text, "output").text == expected, text
        shown, stream = streamed(filters, split(text, rng))
        assert shown == expected, text
        assert len(stream.decisions) == expected.count("[removed]")


@pytest.mark.parametrize("action", ["end", "refuse"])
def test_a_stream_that_is_stopped_shows_nothing_of_the_hit(action):
    rng = random.Random(1)
    filters, logged = chain(PLANTS | {"action": action}, CODES)
    text = "Of 1234-567 and a red  oak, 1234-567."
    for _ in range(50):
        logged.clear()
        shown, stream = streamed(filters, split(text, rng))
        assert "Of [removed] and a ".startswith(shown)
        assert shown == "Of [removed] and a " or action == "refuse"
        assert stream.stopped and stream.push("more").text == ""
        assert [decision.action for decision in logged][:2].count(action) == 1


def test_only_what_may_be_the_start_of_a_hit_is_held_back():
    stream = chain(PLANTS, CODES)[0].stream()
    pieces = [
        "The gard",
        "en has ro",
        "om, a ro",
        "se",
        " and 12",
        "3 and <",
        "b and ",
        "red",
        "der",
    ]
    shown = [
        "The gard",
        "en has ",
        "room, a ",
        "",
        "[removed] and ",
        "123 and ",
        "<b and ",
        "",
        "redder",
    ]
    assert [stream.push(piece).text for piece in pieces] == shown


class Counted:
    """A classifier of texts: how many letters of it are x; it notes the texts that it is asked."""

    categories, thresholds = ("X", "Y"), {"X": 0.5, "Y": None}

    def __init__(self):
        self.asked = []

    def scores(self, texts):
        self.asked += texts
        return [{"X": t.count("x") / max(len(t), 1), "Y": 1.0} for t in texts]


def classifier_chain(**fields):
    counted = Counted()
    spec = {"stage": "classifier", "run": "runs/x", **fields}
    return chain(spec, load=lambda run: counted)[0], counted


def test_a_classifier_flags_from_its_thresholds_on():
    filters, _ = classifier_chain()
    judged = filters.judge("xx..", "input")
    assert (judged.text, judged.stopped) == ("", True)
    (decision,) = judged.decisions
    assert (decision.category, decision.score, decision.stage) == ("X", 0.5, "classifier")
    assert filters.judge("x...", "input").text == "x..."
    both, _ = classifier_chain(thresholds={"X": 0.2, "Y": 1})
    assert [each.category for each in both.judge("x...", "input").decisions] == ["X", "Y"]


@pytest.mark.parametrize("hold", [False, True])
def test_a_classifier_judges_a_stream_at_the_same_lengths_however_it_comes(hold):
    for pieces in (["ab", "cdefgh"], list("abcdefgh"), ["abcdefgh"]):
        filters, counted = classifier_chain(every=3, hold=hold)
        shown, stream = streamed(filters, pieces)
        assert (shown, stream.stopped) == ("abcdefgh", False)
        assert counted.asked == ["abc", "abcdef", "abcdefgh"]


def test_a_flagged_stream_stops_and_what_was_held_is_never_shown():
    for hold, expected in ((True, ["", "abc", ""]), (False, ["ab", "cd", ""])):
        filters, _ = classifier_chain(every=3, hold=hold)
        stream = filters.stream()
        assert [stream.push(piece).text for piece in ("ab", "cd", "xxxxxx")] == expected
        assert stream.stopped and stream.finish().text == ""
        assert [each.category for each in stream.decisions] == ["X"]


def test_the_last_words_of_a_stream_are_judged_too():
    stream = classifier_chain(every=100)[0].stream()
    assert stream.push("xx").text == "xx" and not stream.stopped
    judged = stream.finish()
    assert judged.stopped and judged.decisions[0].category == "X"


def test_stages_follow_each_other():
    """What the first redacts, the second does not see; what the first ends, the second judges."""
    counted = Counted()
    words = LIST | {"words": ["xxxx"]}
    last = {"stage": "classifier", "run": "r", "name": "last"}
    filters, _ = chain(words, last, load=lambda run: counted)
    assert filters.judge("a xxxx", "output").text == "a [removed]"
    assert counted.asked[-1] == "a [removed]"
    filters, _ = chain(words | {"action": "end"}, last, load=lambda run: counted)
    judged = filters.judge("xxx. xxxx", "output")
    assert judged.text == "" and [d.stage for d in judged.decisions] == ["words", "last"]
    shown, stream = streamed(filters, ["xxx. xx", "xx."])
    assert [d.stage for d in stream.decisions] == ["words", "last"] and "xxxx" not in shown
