"""Each variant of the rules against what its own project says of the same documents.

`tests/support/rival_rules.json` is the record of datatrove 0.10.1, dolma 1.2.1 and NeMo Curator
1.4.0; where datatrove and spaCy are installed, datatrove is asked anew.
"""

import dataclasses
import functools
import importlib.util
import json

import pytest

from gptjax.curation.heuristics import RULES, apply_rules
from gptjax.curation.heuristics.page import Page
from tests.support.rival_rules import (
    DATATROVE,
    RECORD,
    UNCHANGED,
    datatrove_filters,
    digest,
    said_by,
)
from tests.support.rule_documents import on_every_document, rule_documents

TEXTS = rule_documents()


@functools.cache
def record(project):
    return json.loads(RECORD.read_text())[project]["said"]


def only(name, rule, **options):
    """A rule set in which one rule is on."""
    kind = RULES.get(name)
    off = {f.name: None for f in dataclasses.fields(kind) if f.default is not None}
    kept = {"variant", "words", "short_line", "least_paragraphs", rule}
    return kind(**{f: None for f in off if f not in kept}, **options)


def ours(name, text, **options):
    """What a rule set of ours does, in the words of the record."""
    name, _, rule = name.partition(".")
    rules = only(name, rule, **options) if rule else RULES.get(name)(**options)
    outcome = apply_rules(text, [rules])
    if outcome.dropped is not None:
        return "dropped"
    return UNCHANGED if outcome.text == text else f"to {digest(outcome.text)}"


def options_for(name, words):
    return {} if name == "c4_paragraphs" else {"words": words}


SETS = ("gopher_quality", "gopher_repetition", "fineweb", "c4", "c4_paragraphs")
EVERY_RULE = [*SETS, *(f"{name}.{rule}" for name in DATATROVE for rule in DATATROVE[name])]


# The mean length of no words is no number there, which no threshold drops; it is 0 here.
NO_MEAN = ("white space", "gopher_quality.least_word_length")


def differences_from_datatrove(name, words):
    options = options_for(name, words)
    return [
        (text_name, said, found)
        for text_name, text in TEXTS.items()
        if (said := record("datatrove")[text_name].get(name, UNCHANGED))
        != (found := ours(name, text, **options))
        and said not in ("ZeroDivisionError", "IndexError")
        and (text_name, name) != NO_MEAN
    ]


@pytest.mark.slow  # spaCy takes seconds to import
@pytest.mark.parametrize("name", EVERY_RULE)
def test_datatrove_with_its_words(name):
    pytest.importorskip("spacy", reason="datatrove's words are spaCy's, which is not installed")
    assert differences_from_datatrove(name, "spacy") == []


@pytest.mark.parametrize("name", EVERY_RULE)
def test_datatrove_with_our_words(name):
    """Words without spaCy decide otherwise on few of the documents, odd ones by intention."""
    assert len(differences_from_datatrove(name, "english")) <= 0.05 * len(TEXTS)


def test_the_record_has_what_rules_drop_and_what_they_keep():
    for name in EVERY_RULE:
        said = [record("datatrove")[text].get(name, UNCHANGED) for text in TEXTS]
        assert any(what != "dropped" for what in said), name
        if name != "gopher_quality.most_words":
            assert "dropped" in said, name


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("datatrove") is None or importlib.util.find_spec("spacy") is None,
    reason="datatrove and spaCy are not both installed: extra `datatrove`",
)
@pytest.mark.filterwarnings("ignore")
def test_datatrove_says_today_what_is_recorded():
    filters = datatrove_filters()
    for text_name, text in TEXTS.items():
        for rule, filter in filters.items():
            recorded = record("datatrove")[text_name].get(rule, UNCHANGED)
            assert said_by(filter, text) == recorded, (text_name, rule)


def every_figure(name, variant, text):
    """All figures of a rule set: with all thresholds at 0, each that is not 0 is looked at."""
    kind = RULES.get(name)
    none = {f.name: 0.0 for f in dataclasses.fields(kind) if isinstance(f.default, float)}
    limits = kind(variant=variant, **none).limits(Page(text))
    return {limit.rule: limit.value for limit in limits}


REPETITION = (
    *("repeated_lines", "repeated_line_characters"),
    *(f"top_{n}_gram" for n in (2, 3, 4)),
    *(f"repeated_{n}_grams" for n in range(5, 11)),
)
DOLMA_NAMES = {
    "repeated_lines": "fraction_of_duplicate_lines",
    "repeated_line_characters": "fraction_of_characters_in_duplicate_lines",
    **{f"top_{n}_gram": f"fraction_of_characters_in_most_common_{n}grams" for n in (2, 3, 4)},
    **{
        f"repeated_{n}_grams": f"fraction_of_characters_in_duplicate_{n}grams" for n in range(5, 11)
    },
}


@on_every_document
def test_dolma(text_name):
    text, said = TEXTS[text_name], record("dolma")[text_name]["gopher"]
    figures = RULES.get("gopher_quality")(variant="dolma").figures(Page(text))
    assert dataclasses.astuple(figures) == pytest.approx(
        (
            said["word_count"],
            said["median_word_length"],
            said["symbol_to_word_ratio"],
            said["fraction_of_lines_starting_with_bullet_point"],
            said["fraction_of_lines_ending_with_ellipsis"],
            said["fraction_of_words_with_alpha_character"],
            said["required_word_count"],
        ),
        abs=1e-11,
    )
    found = every_figure("gopher_repetition", "dolma", text)
    for rule in REPETITION:
        expected = said.get(DOLMA_NAMES[rule], 0.0)
        assert found.get(rule, 0.0) == pytest.approx(expected, abs=1e-11), rule


@on_every_document
def test_dolma_c4(text_name):
    """dolma marks; we remove the lines that it marks, and drop documents by its other marks."""
    said = record("dolma")[text_name]
    outcome = RULES.get("c4")(variant="dolma").apply(Page(TEXTS[text_name]))
    marks = {"has_curly_brace", "has_lorem_ipsum", "has_javascript"} & set(said["c4"])
    if marks:
        assert outcome.dropped is not None
    else:
        assert said["left"] in (digest(outcome.text), digest(outcome.text + "\n"))


@on_every_document
def test_nemo(text_name):
    text, said = TEXTS[text_name], record("nemo")[text_name]
    figures = dataclasses.asdict(RULES.get("gopher_quality")(variant="nemo").figures(Page(text)))
    for name, figure in figures.items():
        if said[name] != "ZeroDivisionError":
            assert figure == pytest.approx(said[name], abs=1e-11), name
    found = every_figure("gopher_repetition", "nemo", text)
    for rule in (*REPETITION, "repeated_paragraphs", "repeated_paragraph_characters"):
        expected = said[rule]
        if expected != "ZeroDivisionError":
            left = rule.startswith(("repeated_line", "repeated_paragraph"))
            expected = 1 - expected if left else expected
            if rule.startswith("top") and tied(text, int(rule[4])):
                continue  # NeMo takes any of several, in the order of a set
            assert found.get(rule, 0.0) == pytest.approx(expected, abs=1e-11), rule


def tied(text, n):
    """Whether several n-grams are the most common."""
    words = text.split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = sorted((grams.count(gram) for gram in set(grams)), reverse=True)
    return len(counts) > 1 and counts[0] == counts[1]
