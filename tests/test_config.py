import dataclasses
import json

import pytest

from gptjax.config import (
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    batch_schedule,
    differences,
    fields,
    from_dict,
    resolve,
    setting,
    to_dict,
    validate,
)


@dataclasses.dataclass
class Inner:
    share: float = setting(0.5, low=0.0, below=1.0)
    rate: float = setting(1.0, above=0.0, high=2.0)


@dataclasses.dataclass
class Outer:
    count: int = setting(3, low=1)
    size: int | None = setting(None, low=1)
    colour: str = setting("red", choices=("red", "blue"))
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


def test_resolve_fills_what_follows_in_a_copy():
    given = ExperimentConfig(model=ModelConfig(d_model=96, num_heads=6))
    resolved = resolve(given)
    model, optimizer = resolved.model, resolved.optimizer
    assert (model.d_head, model.num_kv_heads, model.d_ff) == (16, 6, 384)
    assert (optimizer.warmup_steps, optimizer.decay_steps) == (0, 1000)
    assert given.model.d_ff is None and given.optimizer.decay_steps is None
    assert resolve(resolved) == resolved


def test_resolve_keeps_what_is_given():
    model = ModelConfig(d_model=96, num_heads=5, d_head=8, d_value=3, num_kv_heads=1, d_ff=7)
    optimizer = OptimizerConfig(warmup_tokens=5, decay_tokens=6)
    resolved = resolve(ExperimentConfig(model=model, optimizer=optimizer))
    assert resolved.model == model and resolved.optimizer == optimizer


@pytest.mark.parametrize(
    "config, expected",
    [
        (
            ExperimentConfig(model=ModelConfig(d_model=100, num_heads=12)),
            "config.model.d_model: got 100 with 12 heads, expected a multiple of num_heads",
        ),
        (
            ExperimentConfig(model=ModelConfig(num_heads=12, num_kv_heads=5)),
            "config.model.num_kv_heads: got 5, expected a divisor of num_heads = 12",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="rotary", d_head=7)),
            "config.model.d_head: got 7 with positions=rotary and rotary_scaling=none, expected an "
            "even number",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="sinusoidal", d_model=9, d_head=4)),
            "config.model.d_model: got 9 with positions=sinusoidal",
        ),
        (
            ExperimentConfig(model=ModelConfig(rotary_scaling="yarn", rotary_factor=2.0)),
            "config.model.rotary_scaling: got yarn with positions=learned and rotary_scaling=yarn, "
            "expected none",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="rotary", rotary_factor=2.0)),
            "config.model.rotary_factor: got 2.0 with positions=rotary and rotary_scaling=none, "
            "expected 1",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="rotary", rotary_scaling="interpolation")),
            "config.model.rotary_factor: got 1.0 with positions=rotary and rotary_scaling="
            "interpolation, expected more than 1",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="rotary", rotary_original_context=8)),
            "config.model.rotary_original_context: got 8 with positions=rotary and rotary_scaling="
            "none, expected none",
        ),
        (
            ExperimentConfig(optimizer=OptimizerConfig(warmup_steps=1, warmup_tokens=1)),
            "config.optimizer: got both warmup_steps and warmup_tokens, expected at most one",
        ),
        (
            ExperimentConfig(optimizer=OptimizerConfig(decay_steps=1, decay_tokens=1)),
            "config.optimizer: got both decay_steps and decay_tokens, expected at most one",
        ),
        (
            ExperimentConfig(training=TrainingConfig(batch_ramp_start=1)),
            "config.training: got one of batch_ramp_start and batch_ramp_tokens, expected both",
        ),
        (
            ExperimentConfig(training=TrainingConfig(batch_ramp_start=9, batch_ramp_tokens=9)),
            "config.training.batch_ramp_start: got 9, expected at most batch_size = 8",
        ),
        (
            ExperimentConfig(training=TrainingConfig(seed=-1)),
            "config.training.seed: got -1, expected int >= 0 and <= 2147483647",
        ),
    ],
)
def test_resolve_refuses_contradictions_in_one_line(config, expected):
    assert message(resolve, config).startswith(expected)


def test_the_original_context_follows_from_the_factor_unless_given():
    fields = {"positions": "rotary", "rotary_scaling": "yarn", "rotary_factor": 4.0}
    for given, original in ((None, 256), (100, 100)):
        model = ModelConfig(context_length=1024, rotary_original_context=given, **fields)
        resolved = resolve(ExperimentConfig(model=model)).model
        assert resolved.rotary_original_context == original
        assert resolve(ExperimentConfig(model=resolved)).model == resolved


def test_every_leaf_of_the_default_config_is_validated():
    for path, value in fields(ExperimentConfig()).items():
        config = ExperimentConfig()
        section, leaf = path.split(".")
        setattr(getattr(config, section), leaf, object())
        assert message(validate, config).startswith(f"config.{path}: got <object"), value


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


def test_the_batch_schedule_is_the_configs():
    training = TrainingConfig(batch_size=32, batch_ramp_start=4, batch_ramp_tokens=1000)
    schedule = batch_schedule(
        ExperimentConfig(model=ModelConfig(context_length=16), training=training)
    )
    assert (schedule.batch_size, schedule.context_length) == (32, 16)
    assert (schedule.ramp_start, schedule.ramp_tokens) == (4, 1000)
