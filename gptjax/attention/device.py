"""The device that programs are made for: the one at hand, or another, named for compiling ahead.

with compiling_for(Device("tpu", count=8)):
    lowered = jax.jit(step).trace(*shapes).lower(lowering_platforms=("tpu",))
"""

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")

_ASKED: contextvars.ContextVar["Device | None"] = contextvars.ContextVar("device", default=None)


@dataclasses.dataclass(frozen=True)
class Device:
    """What a choice of implementation may depend on.

    Attributes:
      platform: "cpu", "gpu" or "tpu".
      capability: compute capability of an NVIDIA GPU, such as "9.0".
      count: how many there are.
    """

    platform: str
    capability: str = ""
    count: int = 1


def asked() -> Device | None:
    """The device that `compiling_for` names, if it does."""
    return _ASKED.get()


def current() -> Device:
    """The device that `compiling_for` names, or else the one at hand."""
    device = asked()
    if device is not None:
        return device
    capability = getattr(jax.local_devices()[0], "compute_capability", "")
    return Device(jax.default_backend(), capability, jax.device_count())


@contextlib.contextmanager
def compiling_for(device: Device) -> Iterator[None]:
    """Within it, programs are traced for `device`.

    JAX keeps what it has traced: trace functions that are made within it.
    """
    token = _ASKED.set(device)
    try:
        yield
    finally:
        _ASKED.reset(token)


def traced_for(device: Device, function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which chooses its implementations for `device` wherever it is traced."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with compiling_for(device):
            return function(*args, **kwargs)

    return call
