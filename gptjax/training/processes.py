"""Decisions that the processes of one run take together, or that one process takes for all.

Every process calls these functions, in the same order, from its main thread. A `ValueError` on one
process is raised on all of them: none is left waiting for another that has stopped.

    step = on_first(lambda: newest_good_step(directory))
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")


def together(call: Callable[[], T]) -> T:
    """Calls `call` on every process, and returns what it returns here.

    Raises:
      ValueError: it was raised on any process; with the message of the first of them.
    """
    if jax.process_count() == 1:
        return call()
    result, error = None, None
    try:
        result = call()
    except ValueError as caught:
        error = caught
    message = next(filter(None, _gather(str(error or ""))), None)
    if message is not None:
        raise error or ValueError(message)
    return result  # pyright: ignore[reportReturnType]


def on_first(call: Callable[[], T]) -> T:
    """Calls `call` on process 0 alone, and returns its JSON result on every process.

    Raises:
      ValueError: `call` raised it.
    """
    if jax.process_count() == 1:
        return call()
    value = together(lambda: call() if jax.process_index() == 0 else None)
    return json.loads(_gather(json.dumps(value))[0])


def check_alike(values: Mapping[str, Any]) -> None:
    """Checks that all processes have the same JSON values, by name.

    Raises:
      ValueError: naming the first that differs.
    """
    if jax.process_count() == 1:
        return
    first, *others = map(json.loads, _gather(json.dumps(values)))
    for process, other in enumerate(others, start=1):
        for name, value in first.items():
            if other.get(name) != value:
                raise ValueError(
                    f"{name}: got {other.get(name)!r} in process {process}, expected {value!r} as "
                    "in process 0"
                )


def _gather(text: str) -> list[str]:
    """The texts of all processes, in order."""
    content = np.frombuffer(text.encode(), np.uint8)
    longest = int(multihost_utils.process_allgather(np.int32(content.size)).max())
    room = 1 << longest.bit_length()  # of few sizes: for each a program is compiled
    padded = np.pad(content, (0, room - content.size))
    return [bytes(row).rstrip(b"\0").decode() for row in multihost_utils.process_allgather(padded)]
