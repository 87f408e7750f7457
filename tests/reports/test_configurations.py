import dataclasses
import itertools
import types
import typing

import pytest

from experiments.configs import PIPELINES
from gptjax.config import ExperimentConfig
from gptjax.data.corpora.instructions_text import TextOptions
from gptjax.data.dialogue.instructions_sets import DemonstrationOptions, RankingOptions
from gptjax.reports.configurations import WIDTH, explained
from gptjax.runs.kind import kinds
from gptjax.settings import expected, fields, limits_of, meaning, setting
from tests.support.toy_kind import ToyConfig

EVERY = {
    **{kind.name: kind.config for kind in kinds()},
    **{name: PIPELINES.get(name) for name in PIPELINES},
    **{kind.__name__: kind for kind in (DemonstrationOptions, RankingOptions, TextOptions)},
    "toy": ToyConfig,
}


@dataclasses.dataclass
class Silent:
    width: int = 3


@dataclasses.dataclass
class Half:
    """A section."""

    size: int | None = setting(None, "tokens")
    name: str = setting("x" * 20, "what it is called")


@dataclasses.dataclass
class Made:
    """A configuration that does not say what all of it means."""

    silent: Silent = dataclasses.field(default_factory=Silent)
    half: Half = dataclasses.field(default_factory=Half)
    on: bool = setting(True, "whether it is on")
    rate: float = setting(1e-5, "how fast it is: " + "very " * 30, low=0.0)


def unexplained(config) -> list[str]:
    """The leaves and sections of a config that say nothing, or do not say what None stands for."""
    sections = {
        "".join(parts).rstrip(".")
        for path in fields(config)
        for parts in itertools.accumulate([[part + "."] for part in path.split(".")[:-1]])
    }
    found = [path for path in (*sections, *fields(config)) if not meaning(config, path)]
    for path in fields(config):
        hint = limits_of(config, path)[0]
        if types.NoneType in typing.get_args(hint) and "none: " not in meaning(config, path):
            found.append(f"{path}: none")
    return sorted(found)


@pytest.mark.parametrize("name", EVERY)
def test_every_field_says_what_it_means(name):
    config = EVERY[name]()
    assert unexplained(config) == []
    assert meaning(config, "")
    for path in fields(config):
        assert "\n" not in meaning(config, path) and not meaning(config, path).endswith("."), path


def test_a_field_or_section_that_says_nothing_is_found():
    assert unexplained(Made()) == ["half.size: none", "silent", "silent.width"]


def test_sections_are_explained_in_turn():
    long = "      how fast it is: very very very"
    lines = list(explained(Made()))
    assert [line for line in lines if not line.startswith("      very")] == [
        "",
        "  on            true   bool",
        "      whether it is on",
        "  rate          1e-05  float >= 0",
        next(line for line in lines if line.startswith(long)),
        "",
        "silent:",
        "  silent.width  3      int",
        "",
        "half: A section.",
        "  half.size     none   int or none",
        "      tokens",
        f"  half.name     {'x' * 20}  str",
        "      what it is called",
    ]
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(" ".join(lines).split()).count("very") == 30


def test_some_fields_alone_are_explained():
    config = ExperimentConfig()
    lines = list(explained(config, ["model.d_ff", "data.corpus"]))
    assert [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "] == [
        "model.d_ff",
        "data.corpus",
    ]
    assert f"  model.d_ff   none  {expected(*limits_of(config, 'model.d_ff'))}" in lines
    assert list(explained(config, [])) == []
