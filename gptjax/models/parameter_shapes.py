"""Shapes of a model's parameters, traced once for each configuration.

shapes = parameter_shapes(GPT(config))
"""

from typing import Any

import jax
import jax.numpy as jnp

_known: dict[tuple[type, str, str], Any] = {}
_TOKEN = jax.ShapeDtypeStruct((1, 1), jnp.int32)


def parameter_shapes(model: Any, *inputs: jax.ShapeDtypeStruct) -> Any:
    """The parameters that `model.init` makes, as a tree of `ShapeDtypeStruct`; no device starts.

    Args:
      model: a Linen module with a `config`, on which alone its parameters depend.
      inputs: what it is initialised with; by default one token.
    """
    inputs = inputs or (_TOKEN,)
    key = type(model), repr(model.config), str(inputs)
    if key not in _known:
        _known[key] = jax.eval_shape(
            lambda *inputs: model.init(jax.random.key(0), *inputs)["params"], *inputs
        )
    return _known[key]
