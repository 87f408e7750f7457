"""SIGTERM and SIGINT as a request to save and leave.

with Interruption() as interruption:
    while not interruption.requested(step): ...
"""

import signal
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils


class Interruption:
    """Turns SIGTERM and SIGINT into a request that the loop reads; a second one is not caught.

    Of several processes SIGTERM may reach one alone: JAX's preemption service then has all of them
    leave after the same step. SIGINT, which a terminal sends to all, ends them at once.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def requested(self, step: int) -> bool:
        """Whether to leave instead of taking `step`; to be asked before every step."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.name = signal.Signals.SIGTERM.name
        return self.name is not None

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        self._restore()
