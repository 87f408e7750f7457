"""SIGTERM and SIGINT as a request to save and leave.

with Interruption() as interruption:
    while interruption.name is None: ...
"""

import signal
from types import FrameType
from typing import Any


class Interruption:
    """Turns SIGTERM and SIGINT into a request that the loop reads; a second one is not caught."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        self._restore()
