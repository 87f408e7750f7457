"""Parts of a suite, some of which do not end: for a process that imports no more than these.

outcome = run_parts(parts, budget=60.0)
"""

import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.benchmarks.on_device.budget import Part

SHORT = 0.05  # seconds


def _out_of_memory() -> dict[str, Any]:
    raise MemoryError("out of\nmemory")


def _dies() -> dict[str, Any]:
    os._exit(3)


def _never_ends() -> dict[str, Any]:
    threading.Event().wait()
    return {}


def parts(figures: Mapping[str, dict[str, Any]]) -> Iterator[Part]:
    """What ends, what fails, what cannot run, and what reads the figures of the first."""
    yield Part("first", 10, lambda: {"of": "first"})
    yield Part("broken", 10, _out_of_memory)
    yield Part("absent", 1, lambda: {}, missing="there is none")
    yield Part("endless", SHORT, _never_ends)
    yield Part("long", 1000, lambda: {})
    yield Part("deadly", 10, _dies)
    yield Part("last", 10, lambda: {"after": figures["first"]["of"]})


def endless(figures: Mapping[str, dict[str, Any]]) -> Iterator[Part]:
    """One that never ends, and one after it."""
    yield Part("endless", SHORT, _never_ends)
    yield Part("last", 10, lambda: {})


def breaking(figures: Mapping[str, dict[str, Any]]) -> Iterator[Part]:
    """One part, and no more."""
    yield Part("first", 10, lambda: {})
    os._exit(4)
