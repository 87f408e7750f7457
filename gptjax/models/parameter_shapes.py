"""Parameters as modules declare them, and the shapes of a model's, traced once a configuration.

kernel = parameter(self, "kernel", nn.initializers.normal(0.02), (width, size))
shapes = parameter_shapes(GPT(config))
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

_known: dict[tuple[type, str, str], Any] = {}
_shapes_alone = contextvars.ContextVar("shapes_alone", default=False)
_TOKEN = jax.ShapeDtypeStruct((1, 1), jnp.int32)


def parameter(
    module: nn.Module, name: str, initial: Callable[..., Any], shape: tuple[int, ...], *dtype: Any
) -> jax.Array:
    """As `module.param`, which traces `initial` at every call for the shape that is given here.

    Raises:
      ScopeParamShapeError: there is one of another shape.
    """
    if not module.has_variable("params", name):
        made = nn.initializers.zeros if shapes_alone() else initial
        return module.param(name, made, shape, *dtype)
    given = module.get_variable("params", name)
    if given.shape != tuple(shape):
        path = "/".join(("", *module.path))
        raise errors.ScopeParamShapeError(name, path, given.shape, tuple(shape))
    return given


def shapes_alone() -> bool:
    """Whether only the shapes of parameters are asked for, so that all may be zeros."""
    return _shapes_alone.get()


def parameter_shapes(model: Any, *inputs: jax.ShapeDtypeStruct) -> Any:
    """The parameters that `model.init` makes, as a tree of `ShapeDtypeStruct`; no device starts.

    Args:
      model: a Linen module with a `config`, on which alone its parameters depend.
      inputs: what it is initialised with; by default one token.
    """
    inputs = inputs or (_TOKEN,)
    key = type(model), repr(model.config), str(inputs)
    if key not in _known:
        with _for_shapes_alone():
            _known[key] = jax.eval_shape(
                lambda *inputs: model.init(jax.random.key(0), *inputs)["params"], *inputs
            )
    return _known[key]


@contextlib.contextmanager
def _for_shapes_alone() -> Iterator[None]:
    token = _shapes_alone.set(True)
    try:
        yield
    finally:
        _shapes_alone.reset(token)
