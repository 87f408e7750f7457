"""The shapes of a model's parameters, traced once a configuration: many tests ask for the same."""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.config import ModelConfig
from gptjax.models.gpt import GPT
from gptjax.settings import from_dict, to_dict


def parameter_shapes(config: ModelConfig) -> Any:
    """A tree of `ShapeDtypeStruct`; `config` is resolved."""
    return _shapes(json.dumps(to_dict(config)))


@functools.cache
def _shapes(config: str) -> Any:
    token = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    model = GPT(from_dict(ModelConfig, json.loads(config)))
    return jax.eval_shape(model.init, jax.random.key(0), token)["params"]
