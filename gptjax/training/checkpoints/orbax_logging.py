"""Silences orbax's logs; `Checkpoints` raises the errors that matter, in one line.

silence_orbax()
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorstore


def silence_orbax() -> None:
    """Drops what orbax logs, and what its tasks leave behind where a disk is full."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_is_not_orbax)
    if not isinstance(sys.unraisablehook, _WithoutWritesGivenUp):
        sys.unraisablehook = _WithoutWritesGivenUp(sys.unraisablehook)


def _is_not_orbax(record: logging.LogRecord) -> bool:
    if record.name == "asyncio":
        return "/orbax/" not in record.getMessage()
    return "orbax" not in Path(record.pathname).parts


class _WithoutWritesGivenUp:
    """A hook for exceptions that nothing can catch, but for those of writes given up by orbax.

    When one array cannot be written, orbax closes the event loop on which it waited for the others.
    Each of these then fails to say, on a thread of tensorstore's, that it has ended.
    """

    def __init__(self, hook: Callable[[Any], None]):
        self._hook = hook

    def __call__(self, unraisable: Any) -> None:
        if not _is_of_a_write_given_up(unraisable):
            self._hook(unraisable)


def _is_of_a_write_given_up(unraisable: Any) -> bool:
    if str(unraisable.exc_value) != "Event loop is closed" or unraisable.exc_traceback is None:
        return False
    called = unraisable.exc_traceback.tb_frame.f_locals  # of loop.call_soon_threadsafe(done, *args)
    return any(isinstance(arg, tensorstore.Future) for arg in called.get("args", ()))
