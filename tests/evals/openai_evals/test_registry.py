"""OpenAI's registry: names, aliases, sets, and what is refused."""

from pathlib import Path

import pytest

from gptjax.evals.openai_evals.classes import CLASSES, lack
from gptjax.evals.openai_evals.listing import listed, summary
from gptjax.evals.openai_evals.registry import Registry, default_roots
from tests.support import openai_registry


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return openai_registry.write(tmp_path_factory.mktemp("openai"))


def extended(tmp_path: Path, content: str, kind: str = "evals") -> Registry:
    (tmp_path / kind).mkdir()
    (tmp_path / kind / "more.v1.yaml").write_text(content)
    return Registry([tmp_path])


def test_an_alias_is_followed_to_its_end(root):
    registry = Registry([root])
    entry = registry.eval("match")
    assert entry == registry.eval("match.dev") == registry.eval("match.dev.v0")
    assert (entry.key, entry.group, entry.root) == ("match.dev.v0", "all", root)
    assert entry.class_name == "evals.elsuite.basic.match:Match"
    assert entry.args == {"samples_jsonl": "words/samples.jsonl"}


def test_a_text_is_an_alias_and_folders_add_up(root, tmp_path):
    registry = extended(tmp_path, "short: match.dev.v1\nmatch.dev.v1:\n  class: evals.a:B\n")
    registry = Registry([root, tmp_path, root])
    assert registry.eval("short").root == tmp_path
    assert registry.eval("short").group == "more"
    assert registry.eval("match").key == "match.dev.v0"


def test_a_set_has_each_eval_once_and_says_which_patterns_match_none(root):
    found, idle = Registry([root]).eval_set("basic")
    assert [entry.key for entry in found] == ["match.dev.v0", "includes.dev.v0", "fuzzy.dev.v0"]
    assert idle == ["nowhere"]


def test_a_pattern_is_held_against_the_whole_name(root, tmp_path):
    content = "some:\n  evals: ['match-few.dev.v*', 'dev', 'includes.dev.v0.*', '*lambadaXtest*']"
    extended(tmp_path, content, "eval_sets")
    found, idle = Registry([root, tmp_path]).eval_set("some")
    assert [entry.key for entry in found] == ["match-few.dev.v0"]
    assert idle == ["dev", "includes.dev.v0.*", "*lambadaXtest*"]


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (
            "a.b: {class: c:D, key: x}",
            "a.b",
            "got the reserved field 'key' in 'a.b', expected none",
        ),
        ("a: {id: b}\nb: {id: a}", "a", "eval 'a': got aliases that go round: a, b"),
        ("a: {id: b}", "a", "unknown eval 'b'; expected one of: a"),
        ("a: {metrics: [x]}", "a", "eval 'a': got no 'class', expected MODULE:CLASS"),
        ("a: {class: c:D}", "a", "eval 'a': got no split, expected a name as BASE.SPLIT"),
        ("a: [1]", "a", "got [1] for 'a', expected fields with values"),
        ("a: {", "a", "more.v1.yaml: while parsing"),
        ("abc.d: {class: c:D}", "abd.d", "unknown eval 'abd.d' (did you mean 'abc.d'?)"),
    ],
)
def test_a_wrong_registry_is_refused(tmp_path, content, name, said):
    with pytest.raises(ValueError) as refused:
        extended(tmp_path, content).eval(name)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_name_in_two_files_is_refused(root, tmp_path):
    extended(tmp_path, "match.dev.v0: {class: c:D}")
    with pytest.raises(ValueError, match=r"got 'match.dev.v0', which .* has too, expected each"):
        Registry([root, tmp_path]).eval("match")


def test_of_many_names_the_nearest_is_said(root):
    with pytest.raises(ValueError) as refused:
        Registry([root]).eval("graded-bets.dev.v0")
    names = len(Registry([root]).evals)
    assert str(refused.value) == (
        "unknown eval 'graded-bets.dev.v0' (did you mean 'graded-best.dev.v0'?); "
        f"expected one of the {names} names of the registry"
    )
    with pytest.raises(ValueError, match="got no registry that has any, expected a folder"):
        Registry([]).eval("match")


def test_the_home_has_a_registry(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert default_roots()[-1] == tmp_path / ".evals"


def test_the_list_says_what_each_eval_lacks(root):
    registry = Registry([root])
    rows = {row.name: row for row in listed(registry, openai_registry.datasets(root))}
    assert rows["agent.dev.v0"].lack == "needs a solver that acts over several turns"
    assert rows["odd.dev.v0"].lack == "needs a class that is not known here"
    assert [name for name, row in rows.items() if row.lack] == ["agent.dev.v0", "odd.dev.v0"]
    assert len(rows) == openai_registry.CLASSES_WITH_SAMPLES + 2
    lines = summary(list(rows.values()))
    assert lines[0] == "    7 ModelBasedClassify: 7 with samples"
    assert lines[-1].startswith("19 of 21 evals (90%) have a class that runs here; 19 of these")
    without = {row.name: row.lack for row in listed(registry, {})}
    assert without["choice.val.v0"] == "no samples: --datasets=hendrycks_test=PATH"
    (root / "data" / "json.jsonl").rename(root / "data" / "gone")
    try:
        gone = {row.name: row.lack for row in listed(registry, {})}
    finally:
        (root / "data" / "gone").rename(root / "data" / "json.jsonl")
    assert gone["json-match.dev.v0"] == "no samples: json.jsonl"


def test_every_class_is_in_the_small_registry(root):
    assert {entry.class_name for entry in Registry([root]).runnable()} >= set(CLASSES)
    assert lack(" evals.elsuite.basic.includes:Includes") is None
