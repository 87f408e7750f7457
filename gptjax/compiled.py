"""Functions of a model that are compiled once, however many generators and scorers use them.

feed = compiled(decoding.feed, model, donate_argnames="cache")
cache = feed(params, cache, tokens, positions)
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
from flax import linen as nn

from gptjax.attention.device import Device, current, traced_for

KEPT = 64  # functions whose programs are kept, the most recently used


def compiled(function: Callable[..., Any], *models: Any, **options: Any) -> Callable[..., Any]:
    """`jax.jit` of `function(*models, ...)`: the same object for equal functions, models, options.

    Models are equal where they are of one class and their attributes are, configurations by value.
    A model that cannot be compared, as its attributes cannot be hashed, is compiled anew. Programs
    are traced for the `current()` device, and kept apart by it.

    Args:
      function: pure; takes the models, then what is given at each call.
      models: Linen modules, unbound.
      options: of `jax.jit`; hashable.
    """
    call = _Call(function, models, tuple(sorted(options.items())), current())
    try:
        hash(call)
    except TypeError:
        return _jit(call)
    return _shared(call)


class _Call:
    """A call of `jax.jit`, equal to any that makes the same program."""

    def __init__(
        self, function: Callable[..., Any], models: tuple[Any, ...], options: Any, device: Device
    ):
        self.function, self.models, self.options, self.device = function, models, options, device
        self._key = (function, tuple(map(_key, models)), options, device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _key(value: Any) -> Hashable:
    """What tells a module, or a configuration, from others, as it is now."""
    if not dataclasses.is_dataclass(value):
        return value
    names = [field.name for field in dataclasses.fields(value)]
    if isinstance(value, nn.Module):
        names = [name for name in names if name not in ("parent", "name")]
    return type(value), tuple((name, _key(getattr(value, name))) for name in names)


def _jit(call: _Call) -> Callable[..., Any]:
    # Configurations can be changed in place; a program that is shared must not follow them.
    models = [model.clone(config=copy.deepcopy(model.config)) for model in call.models]
    function = traced_for(call.device, call.function)
    return jax.jit(functools.partial(function, *models), **dict(call.options))


_shared = functools.lru_cache(maxsize=KEPT)(_jit)
