"""Programs of a model that are shared: by equal models alone, and not by one that has changed."""

import copy

import jax.numpy as jnp
import pytest
from flax import linen as nn

from gptjax.attention.device import Device, compiling_for, current
from gptjax.compiled import compiled
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.models.gpt import GPT


def width(model, x):
    return x * model.config.d_model


def twice(model, x):
    return 2 * width(model, x)


def model(**changes):
    fields = {"vocab_size": 8, "num_layers": 1, "num_heads": 1, "d_model": 4} | changes
    return GPT(resolve(ExperimentConfig(model=ModelConfig(**fields))).model)


def test_equal_models_have_one_program():
    first = compiled(width, model(), donate_argnames="x")
    assert compiled(width, model(), donate_argnames="x") is first
    assert first(jnp.float32(3)) == 12


@pytest.mark.parametrize(
    "other",
    [
        lambda: compiled(width, model(d_model=8)),
        lambda: compiled(width, model(attention="banded(window=2)")),
        lambda: compiled(width, model().clone(attend=lambda *_: None)),
        lambda: compiled(twice, model()),
        lambda: compiled(width, model(), donate_argnames="x"),
    ],
)
def test_what_differs_has_its_own(other):
    assert other() is not compiled(width, model())


def test_a_configuration_that_is_changed_in_place_changes_no_program():
    first = model()
    shared = compiled(width, first)
    first.config.d_model = 6
    assert compiled(width, first) is not shared
    assert compiled(width, model()) is shared
    assert shared(jnp.ones(2))[0] == 4 and compiled(width, first)(jnp.ones(2))[0] == 6


def test_a_model_that_cannot_be_compared_is_compiled_anew():
    class Listed(nn.Module):
        config: ModelConfig
        widths: dict

    each = Listed(copy.deepcopy(model().config), {"d_model": [1]})
    assert compiled(width, each) is not compiled(width, each)
    assert compiled(width, each)(jnp.float32(3)) == 12


def devices_at_hand(model, x):
    return x * current().count


def test_a_program_is_of_the_device_that_it_is_asked_for():
    with compiling_for(Device("cpu", count=3)):
        of_three = compiled(devices_at_hand, model())
    with compiling_for(Device("cpu", count=2)):
        of_two = compiled(devices_at_hand, model())
        assert of_three(1) == 3
    assert of_two(1) == 2
