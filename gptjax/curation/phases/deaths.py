"""The documents at which processes of a task died, so that one that kills them all is set aside.

    with Deaths(folder / "books-00003.deaths") as deaths:
        for number, document in enumerate(documents):
            if deaths.count(number) < MOST_DEATHS:
                with deaths.at(number):
                    judge(document)

An error that a document causes is caught where it is made. A document that ends the process (by a
fault of a library in C, by more memory than there is) leaves its number in the file, for the next
attempt.
"""

import contextlib
import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MOST_DEATHS = 2  # at one document: a process may also die for reasons that are not the document's
_NUMBER = struct.Struct("<q")
_NONE = -(1 << 63)


class Deaths:
    """A file of numbers: where each earlier attempt died, and where this one is."""

    def __init__(self, path: Path):
        """`path`: in a folder that is there; the file is deleted when the task has ended."""
        self._path = path
        self._counts: Counter[int] = Counter()
        self._file, self._end = -1, 0

    def __enter__(self) -> "Deaths":
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        whole = os.fstat(self._file).st_size // _NUMBER.size * _NUMBER.size
        found = [number for (number,) in _NUMBER.iter_unpack(os.pread(self._file, whole, 0))]
        died = [number for number in found if number != _NONE]
        self._counts = Counter(died)
        self._end = len(died) * _NUMBER.size
        os.pwrite(self._file, b"".join(map(_NUMBER.pack, [*died, _NONE])), 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        os.close(self._file)
        if kind is None:
            self._path.unlink()

    def count(self, number: int) -> int:
        """How many attempts died at `number`."""
        return self._counts[number]

    @contextlib.contextmanager
    def at(self, number: int) -> Iterator[None]:
        """Within it, the process is at `number`: any whole number of 64 bits but the least."""
        self._write(number)
        try:
            yield
        finally:
            self._write(_NONE)

    def _write(self, number: int) -> None:
        os.pwrite(self._file, _NUMBER.pack(number), self._end)
