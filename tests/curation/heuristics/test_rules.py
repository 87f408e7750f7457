"""Each rule drops what it should, by hand; each can be turned off; figures for people are said."""

import dataclasses
import random

import pytest

from gptjax.curation.heuristics import RULES, apply_rules
from gptjax.curation.heuristics.page import Page
from gptjax.curation.heuristics.rules import Limit
from tests.support.rule_documents import rule_documents

SENTENCE = "The river runs below the old town, and its people have walked there with it. "
PROSE = "\n".join(
    f"{SENTENCE}There are {number} of them that be good, and to know them is to like them."
    for number in ("some", "many", "few", "eleven", "nine", "two", "several", "eighty")
)
LONG = "\n".join(
    f"{SENTENCE}Line {i}: {' '.join(f'w{i}x{j}' for j in range(40))}." for i in range(6)
)

# Rule set, its changes, text, the rule that drops it, and what is said.
CASES = [
    (
        "gopher_quality",
        {},
        "Too short that is, the end.",
        "too_few_words",
        "6 words, expected at least 50",
    ),
    ("gopher_quality", {"most_words": 60}, PROSE, "too_many_words", "words, expected at most 60"),
    (
        "gopher_quality",
        {},
        "a b c the of " * 20,
        "short_words",
        "1.6 characters a word, expected at least 3",
    ),
    (
        "gopher_quality",
        {},
        "incomprehensibilities of the " * 3 + "characteristically " * 60,
        "long_words",
        "at most 10",
    ),
    (
        "gopher_quality",
        {},
        "the word # of " * 30,
        "symbols",
        "0.25 symbols a word, expected at most 0.1",
    ),
    (
        "gopher_quality",
        {},
        "- the item of the list\n" * 30,
        "bullet_lines",
        "1 of lines begin with a bullet",
    ),
    (
        "gopher_quality",
        {"most_symbols": None},
        "the item of that long list...\n" * 30,
        "ellipsis_lines",
        "1 of lines",
    ),
    (
        "gopher_quality",
        {},
        "the 1234 of 5678 " * 30,
        "not_alphabetic",
        "0.5 of words have a letter, expected at least 0.8",
    ),
    (
        "gopher_quality",
        {},
        "some words stand here alone " * 30,
        "few_stop_words",
        "0 stop words, expected at least 2",
    ),
    (
        "gopher_repetition",
        {},
        "One line.\nTwo.\n" * 2,
        "repeated_lines",
        "0.4 of lines repeat one, expected at most 0.3",
    ),
    (
        "gopher_repetition",
        {},
        "One.\nTwo.\n\n" * 4,
        "repeated_paragraphs",
        "0.75 of paragraphs repeat one",
    ),
    (
        "gopher_repetition",
        {"repeated_lines": None},
        f"{SENTENCE}\n" * 2 + "a\nb\nc",
        "repeated_line_characters",
        "0.47",
    ),
    ("gopher_repetition", {}, "of the " * 30, "top_2_gram", "expected at most 0.2"),
    (
        "gopher_repetition",
        {},
        LONG + "\n" + " and so on as it was before now".join("abcdefgh"),
        "repeated_5_grams",
        "expected at most 0.15",
    ),
    ("fineweb", {}, "no end\n" * 3 + "x" * 40, "unended_lines", "0 of lines end with a final mark"),
    (
        "fineweb",
        {},
        "a.\nb.\nc.\n" + "x" * 40 + ".",
        "short_lines",
        "0.75 of lines have 30 characters at most",
    ),
    (
        "fineweb",
        {},
        f"{SENTENCE.strip()}\n" * 3,
        "repeated_lines",
        "0.666667 of characters in repeated lines",
    ),
    (
        "fineweb",
        {"most_short_lines": None},
        "\n".join(f"{i} is." for i in range(50)),
        "line_feeds",
        "line feeds a word, expected at most 0.3",
    ),
    ("fineweb", {}, " \n\n", "empty", "0 lines that are not blank"),
    ("c4", {}, "It is. So it is.\n", "few_sentences", "2 sentences, expected at least 5"),
    ("c4", {}, PROSE + "\nIt has lorem ipsum in it.", "lorem_ipsum", "it is filler"),
    ("c4", {}, PROSE + "\nIt has { in it.", "curly_bracket", "it is code"),
    (
        "c4_paragraphs",
        {},
        PROSE.replace("\n", " "),
        "few_paragraphs",
        "0 characters in the longest line number 3",
    ),
]


@pytest.mark.parametrize(("name", "changes", "text", "rule", "said"), CASES)
def test_each_rule_drops_and_says_why(name, changes, text, rule, said):
    dropped = RULES.get(name)(**changes).judge(text)
    assert dropped is not None and dropped.reason == f"{name}.{rule}"
    assert said in dropped.detail
    assert apply_rules(text, [RULES.get(name)(**changes)]).dropped == dropped


def test_prose_is_kept_by_all():
    assert (
        apply_rules(
            LONG,
            [RULES.get(name)(variant="datatrove") for name in ("c4", "gopher_quality", "fineweb")],
        ).dropped
        is None
    )
    assert (
        RULES.get("gopher_repetition")().judge("\n".join(LONG.replace(SENTENCE, "").split("\n")))
        is None
    )


def off(name):
    """A rule set without a rule."""
    kind, values = RULES.get(name), {}
    for field in dataclasses.fields(kind):
        if isinstance(field.default, bool):
            values[field.name] = False
        elif isinstance(field.default, (int, float)) and field.name not in (
            "short_line",
            "least_paragraphs",
        ):
            values[field.name] = None
    return kind(**values)


@pytest.mark.parametrize("name", RULES.names())
def test_all_rules_can_be_off(name):
    for text in rule_documents().values():
        outcome = off(name).apply(Page(text))
        assert outcome.dropped is None or outcome.dropped.reason == "fineweb.empty"
        assert outcome.text.split() == text.split() and not outcome.removed


@pytest.mark.parametrize("variant", ["datatrove", "dolma", "nemo"])
def test_what_is_skipped_for_speed_changes_no_verdict(variant):
    """The first rule broken, of figures that are all computed, is the one that is named."""
    kind = RULES.get("gopher_repetition")
    every = {f.name: 0.0 for f in dataclasses.fields(kind) if isinstance(f.default, float)}
    draw, dropped = random.Random(2), 0
    known = sorted(set(f"{SENTENCE}{PROSE}".split()))
    for _ in range(120):
        phrase = draw.choices(known, k=draw.randint(2, 12))
        share, made = draw.random() * 0.4, []
        while len(made) < 40 + 300 * share:
            made += phrase if draw.random() < share else draw.choices(known, k=6)
        text = " ".join(made)
        text = "\n".join(text[i : i + 90] for i in range(0, len(text), 90))
        limits = kind(variant=variant, **every).limits(Page(text))
        rules = kind(variant=variant)
        broken = [limit.rule for limit in limits if limit.value > getattr(rules, limit.rule)]
        verdict = rules.judge(text)
        assert (verdict and verdict.reason) == (
            f"gopher_repetition.{broken[0]}" if broken else None
        )
        dropped += verdict is not None
    assert 20 < dropped < 110


def test_c4_removes_lines_and_counts_them():
    text = "\n".join(
        [
            "Home | About | Contact",
            "It ends...",
            "Two words.",
            "Please enable JavaScript to read it.",
            "It uses cookies, as you know.",
            f"A word of length: {'x' * 1001} is here.",
            "It is so.[1] And [edit] that.",
            *PROSE.split("\n"),
        ]
    )
    outcome = RULES.get("c4")().apply(Page(text))
    assert outcome.text == "It is so. And  that.\n" + PROSE and outcome.dropped is None
    assert outcome.removed == {
        "c4.no_terminal_punctuation": 2,
        "c4.few_words": 1,
        "c4.javascript": 1,
        "c4.policy": 1,
        "c4.long_word": 1,
    }


def test_later_rules_see_what_earlier_ones_left():
    text = "\n".join(["no end of that river"] * 40 + [SENTENCE.strip()] * 5)
    lines = RULES.get("c4")()
    whole = RULES.get("gopher_quality")(least_words=150)
    assert whole.judge(text) is None
    outcome = apply_rules(text, [lines, whole])
    assert outcome.dropped.reason == "gopher_quality.too_few_words"
    assert outcome.removed == {"c4.no_terminal_punctuation": 40}


def test_thresholds_are_checked_and_names_are_known():
    with pytest.raises(ValueError, match=r"gopher_quality\.least_alphabetic: got 1.5, expected"):
        RULES.get("gopher_quality")(least_alphabetic=1.5)
    with pytest.raises(
        ValueError, match=r"fineweb\.variant: got 'dolma', expected one of datatrove"
    ):
        RULES.get("fineweb")(variant="dolma")
    with pytest.raises(ValueError, match=r"unknown rule set 'gopher' \(did you mean"):
        RULES.get("gopher")


@pytest.mark.parametrize(
    ("limit", "broken", "detail"),
    [
        (Limit("x", 3, "words", least=3), False, "3 words, expected at least 3"),
        (Limit("x", 3, "words", least=3, strictly=True), True, "3 words, expected above 3"),
        (Limit("x", 0.25, "of it", most=0.2), True, "0.25 of it, expected at most 0.2"),
        (Limit("x", 0.2, "of it", most=0.2, strictly=True), True, "0.2 of it, expected below 0.2"),
        (Limit("x", 5, "words"), False, None),
    ],
)
def test_limits(limit, broken, detail):
    assert limit.broken() == broken
    if detail:
        assert limit.detail() == detail
