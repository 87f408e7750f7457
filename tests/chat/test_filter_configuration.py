"""Configurations of filters: what YAML gives, and what is refused in one line."""

import pytest

pytest.importorskip("regex", reason="regex is not installed: extra `serve`")
pytest.importorskip("confusable_homoglyphs", reason="not installed: extra `serve`")

from gptjax.chat.filters import configuration
from gptjax.chat.filters.chain import FilterChain

ROW = {"stage": "blocklist", "words": ["rose"]}


class Fake:
    categories, thresholds = ("S", "V"), {"S": 0.75, "V": None}

    def scores(self, texts):
        return [{"S": 0.8, "V": 0.8} for _ in texts]


def parsed(text):
    return FilterChain.parse(text, load=lambda run: Fake()).stages


def test_the_example_of_the_module_is_a_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blocked.txt").write_text("# a list\nred oak\n\n  tulip \n")
    example = configuration.__doc__.split("\n\n")[1]
    words, codes, classifier = parsed(example)
    assert (words.name, words.where, words.action, words.category) == (
        *("words", "both", "redact"),
        "names",
    )
    assert set(words.words) == {"secret", "a phrase", "red oak", "tulip"}
    assert (codes.name, codes.action, codes.patterns) == (
        "expressions",
        "end",
        {"card": r"\b\d{16}\b"},
    )
    assert (classifier.thresholds, classifier.every, classifier.hold) == ({"S": 0.8}, 200, False)


def test_a_classifier_has_the_thresholds_of_its_run_unless_it_is_given_others():
    (stage,) = parsed("[{stage: classifier, run: r}]")
    assert stage.thresholds == {"S": 0.75} and stage.action == "refuse" and stage.where == "both"
    (stage,) = parsed("[{stage: classifier, run: r, thresholds: {V: 1}}]")
    assert stage.thresholds == {"V": 1.0}
    assert parsed("") == () == parsed("[]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "filters: got no YAML"),
        ("a: 1", "filters: got dict, expected a list of stages"),
        ("[1]", "filters[0]: got int, expected fields"),
        ("[{}]", "filters[0]: stage: got none, expected one of blocklist, expressions, classifier"),
        ("[{stage: list}]", "filters[0]: stage: got 'list', expected one of"),
        ("[{stage: blocklist}]", "filters[0]: words: got none, expected words, or a file"),
        ("[{stage: blocklist, words: a}]", "filters[0]: words: got 'a', expected a list of words"),
        ("[{stage: blocklist, words: [3]}]", "filters[0]: words: got 3, expected texts"),
        ('[{stage: blocklist, words: ["\\u200b"]}]', "filters[0]: words: got '\\u200b', expected"),
        ("[{stage: blocklist, file: /nowhere}]", "filters[0]: file: got /nowhere (No such file"),
        ("[{stage: blocklist, words: [a], action: drop}]", "action: got 'drop', expected one of r"),
        (
            "[{stage: blocklist, words: [a], were: input}]",
            "unknown field 'were' (did you mean 'whe",
        ),
        (
            "[{stage: blocklist, words: [a], whole_words: 1}]",
            "whole_words: got 1, expected true or",
        ),
        (
            "[{stage: blocklist, words: [a]}, {stage: blocklist, words: [b]}]",
            "filters[1]: name: got",
        ),
        (
            "[{stage: expressions, patterns: {a: '('}}]",
            "filters[0]: patterns: got pattern 'a': got",
        ),
        ("[{stage: expressions, patterns: {a: 'b*'}}]", "got one that matches an empty text"),
        ("[{stage: expressions, patterns: []}]", "patterns: got [], expected a mapping"),
        ("[{stage: classifier}]", "filters[0]: run: got none, expected the directory of a run"),
        ("[{stage: classifier, run: r, action: redact}]", "action: got redact, expected refuse or"),
        ("[{stage: classifier, run: r, every: 0}]", "every: got 0, expected a number of char"),
        (
            "[{stage: classifier, run: r, thresholds: {Z: 1}}]",
            "got 'Z', expected categories of the",
        ),
        ("[{stage: classifier, run: r, thresholds: {S: 2}}]", "got S: 2, expected numbers from 0"),
    ],
)
def test_a_wrong_configuration_is_refused_in_a_line(text, message):
    with pytest.raises(ValueError) as error:
        parsed(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_package_names_its_extra(monkeypatch):
    from gptjax.chat.filters import normal_form, stages

    def missing(name):
        raise ImportError(name)

    normal_form.confusables.cache_clear()
    normal_form._normal.cache_clear()
    for module in (normal_form, stages):
        monkeypatch.setattr(module.importlib, "import_module", missing)
    for text in ("[{stage: blocklist, words: [a]}]", "[{stage: expressions, patterns: {a: b}}]"):
        with pytest.raises(ValueError, match=r"the extra `serve`"):
            parsed(text)
    normal_form._normal.cache_clear()
