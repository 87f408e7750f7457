"""What --help of every binary shows, against the flags that its source defines."""

import re
from pathlib import Path

import pytest
from absl.flags._helpers import disclaim_module_ids

from tests.support.binaries import call

ROOT = Path(__file__).parents[3]
BINARIES = sorted(path.stem for path in (ROOT / "experiments").glob("[!_]*.py"))


def defined(name: str) -> set[str]:
    """The flags that a binary's source defines, and the modules of flags that it imports."""
    source = (ROOT / "experiments" / f"{name}.py").read_text()
    found = set(re.findall(r'(?:flags\.DEFINE|define)_\w+\(\s*"(\w+)"', source))
    for module in re.findall(r"from experiments\.flags\.(\w+) import", source):
        if module != "command_line":
            found |= defined(f"flags/{module}")
    return found | ({"experiment"} if "with_experiment=True" in source else set())


def shown(output: str) -> dict[str, str]:
    """The flags of a help text with their words."""
    lines = output.splitlines()
    entries = re.findall(r"^  --(?:\[no\])?(\S+).*((?:\n {6}.*)+)", "\n".join(lines), re.M)
    return {name: " ".join(words.split()) for name, words in entries}


@pytest.mark.parametrize("name", BINARIES)
def test_help_has_the_flags_of_the_binary_and_no_others(name):
    done = call(name, "--help", "--workdri=x")
    assert (done.code, done.errors) == (0, "")
    source = (ROOT / "experiments" / f"{name}.py").read_text()
    assert done.output.splitlines()[0] == source.partition('"""')[2].splitlines()[0]
    found = shown(done.output)
    assert {*found} == defined(name) | {"help", "verbosity"}
    for words in found.values():
        assert words.endswith(".") and "repeat this option" not in words, words


def test_a_call_leaves_no_module_that_disclaims_its_flags():
    """absl would give the flags of a later module at the same address to whatever imports it."""
    before = {*disclaim_module_ids}
    call("train", "--help")
    assert disclaim_module_ids == before


def test_help_with_an_experiment_explains_its_fields():
    named = ("--experiment=grpo_smoke", "--config.ppo.discount=0.5")
    done, listed = call("train", "-h", *named), call("list", named[0])
    assert (done.code, done.errors) == (0, "")
    _, _, fields = done.output.partition("each with its value:\n")
    _, _, expected = listed.output.partition("changes a field.\n")
    changed = re.sub(r"(  ppo\.discount +)1\.0 ", r"\g<1>0.5 ", expected)
    assert changed != expected
    assert fields.replace("  --config.", "  ") == changed


def test_help_of_an_experiment_that_there_is_not():
    assert call("train", "--help", "--experiment=gpt2_smal").refusal.startswith(
        "unknown experiment 'gpt2_smal' (did you mean 'gpt2_small'?)"
    )


def test_the_page_of_the_configuration_is_up_to_date():
    page, command = "docs/configuration.md", "python -m experiments.list --configuration"
    same = (ROOT / page).read_text() == call("list", "--configuration").output
    assert same, f"{page} is out of date: run `{command} > {page}`"
