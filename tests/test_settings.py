import dataclasses
import json

import pytest

from gptjax.config import ExperimentConfig, ModelConfig, OptimizerConfig, resolve
from gptjax.settings import (
    REQUIRED,
    differences,
    fields,
    from_dict,
    meaning,
    setting,
    to_dict,
    validate,
)


@dataclasses.dataclass
class Inner:
    """A section.

    It has two.
    """

    share: float = setting(0.5, "share of it", low=0.0, below=1.0)
    rate: float = setting(1.0, "how much, per second", above=0.0, high=2.0)


@dataclasses.dataclass
class Outer:
    count: int = setting(3, "how many", low=1)
    size: int | None = setting(None, "tokens; none: all", low=1)
    colour: str = setting("red", "what it looks like", choices=("red", "blue"))
    name: str | None = None
    on: bool = True
    inner: Inner = dataclasses.field(default_factory=Inner)


def message(call, *args) -> str:
    with pytest.raises(ValueError) as caught:
        call(*args)
    text = str(caught.value)
    assert "\n" not in text
    return text


def changed(path: str, value):
    """An `Outer` with one leaf set, as overrides set it."""
    config = Outer()
    section, _, leaf = path.rpartition(".")
    setattr(config.inner if section else config, leaf, value)
    return config


@pytest.mark.parametrize(
    "path, value, expected",
    [
        ("count", 0, "int >= 1"),
        ("count", True, "int >= 1"),
        ("count", 2.5, "int >= 1"),
        ("count", 2.0, "int >= 1"),
        ("count", "2", "int >= 1"),
        ("count", None, "int >= 1"),
        ("count", (1, 2), "int >= 1"),
        ("size", 0, "int or none >= 1"),
        ("size", False, "int or none >= 1"),
        ("size", "none", "int or none >= 1"),
        ("colour", "green", "one of red, blue"),
        ("colour", None, "one of red, blue"),
        ("colour", 3, "one of red, blue"),
        ("name", 3, "str or none"),
        ("on", 1, "bool"),
        ("on", "true", "bool"),
        ("inner.share", -0.1, "float >= 0 and < 1"),
        ("inner.share", 1.0, "float >= 0 and < 1"),
        ("inner.share", float("nan"), "float >= 0 and < 1"),
        ("inner.share", "0.5", "float >= 0 and < 1"),
        ("inner.rate", 0.0, "float > 0 and <= 2"),
        ("inner.rate", 2.1, "float > 0 and <= 2"),
        ("inner.rate", float("inf"), "float > 0 and <= 2"),
        ("inner.rate", True, "float > 0 and <= 2"),
    ],
)
def test_validate_says_what_it_got_and_expected(path, value, expected):
    text = message(validate, changed(path, value))
    assert text == f"config.{path}: got {value!r}, expected {expected}"


@pytest.mark.parametrize(
    "path, value",
    [
        ("count", 1),
        ("size", None),
        ("size", 1),
        ("colour", "blue"),
        ("name", "none of these"),
        ("on", False),
        ("inner.share", 0),
        ("inner.share", 0.999),
        ("inner.rate", 2),
        ("inner.rate", 1e-30),
    ],
)
def test_validate_accepts_what_fits(path, value):
    validate(changed(path, value))


def test_an_infinite_value_without_bounds_is_refused():
    config = OptimizerConfig(weight_decay=float("inf"))
    assert message(validate, config).startswith("config.weight_decay: got inf, expected float")


def test_dict_and_back():
    config = resolve(ExperimentConfig(model=ModelConfig(attention="dense,banded(window=8)")))
    values = json.loads(json.dumps(to_dict(config)))
    assert values["model"]["attention"] == "dense,banded(window=8)"
    assert from_dict(ExperimentConfig, values) == config


def test_from_dict_refuses_unknown_fields_and_broken_sections():
    text = message(from_dict, ExperimentConfig, {"model": {"num_layer": 3}})
    assert text.startswith("unknown field 'config.model.num_layer' (did you mean")
    assert "'config.model.num_layers'" in text
    text = message(from_dict, ExperimentConfig, {"modle": {}})
    assert "did you mean 'config.model'?" in text
    text = message(from_dict, ExperimentConfig, {"model": 3})
    assert text == "config.model: got 3, expected a section of fields"


def test_from_dict_takes_a_field_by_the_name_that_it_had():
    @dataclasses.dataclass
    class Renamed:
        width: int = setting(1, "how wide", formerly="breadth")

    assert from_dict(Renamed, {"breadth": 3}) == from_dict(Renamed, {"width": 3}) == Renamed(3)


def test_from_dict_fills_in_what_a_field_meant_before_it_was_there():
    @dataclasses.dataclass
    class Grown:
        revision: int = setting(2, "which one", before=1)

    assert from_dict(Grown, {}) == Grown(1)
    assert from_dict(Grown, {"revision": 2}) == Grown() == Grown(2)


def test_differences_are_named_within_the_sections():
    ours, theirs = ExperimentConfig(), ExperimentConfig()
    ours.model.num_layers, ours.training.seed, ours.profile.num_steps = 3, 1, 5
    assert differences(ours, theirs, ("model.", "training.")) == [
        "model.num_layers: 3, not 12",
        "training.seed: 1, not 0",
    ]
    assert differences(ours, theirs, ("training.batch_", "data.")) == []
    assert differences(ours, ours, ("",)) == []


def test_fields_are_dotted_leaves():
    assert fields(Outer()) == {
        "count": 3,
        "size": None,
        "colour": "red",
        "name": None,
        "on": True,
        "inner.share": 0.5,
        "inner.rate": 1.0,
    }


def test_a_field_means_what_it_says_and_a_section_its_docstring():
    assert meaning(Outer(), "size") == "tokens; none: all"
    assert meaning(Outer(), "inner.rate") == "how much, per second"
    assert meaning(Outer(), "inner") == meaning(Inner(), "") == "A section.\n\nIt has two."


def test_what_says_nothing_has_no_meaning():
    assert meaning(Outer(), "name") == ""
    assert meaning(Outer(), "") == ""  # not the docstring that dataclass makes


def test_a_required_setting_has_no_default():
    @dataclasses.dataclass
    class Needy:
        size: int = setting(REQUIRED, "tokens", low=1)

    with pytest.raises(TypeError, match="size"):
        Needy()
    assert message(validate, Needy(0)) == "config.size: got 0, expected int >= 1"
    assert meaning(Needy(1), "size") == "tokens"
