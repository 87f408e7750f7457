"""Lock of a directory that one process at a time writes to.

The lock is on a file, not on the directory: a shared file system (NFS) locks nothing else. The
kernel releases it when the process ends, however it ends.

    lock = DirectoryLock(directory)
    lock.take()
"""

import fcntl
import os
from pathlib import Path

NAME = "lock"


class DirectoryLock:
    """Lock that gives one process the right to write to a directory."""

    def __init__(self, directory: Path):
        """`directory` is made when the lock is taken."""
        self._directory = directory
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._file is not None

    def take(self) -> None:
        """Takes the lock; BlockingIOError where another has it, OSError where nobody can."""
        self._directory.mkdir(parents=True, exist_ok=True)
        file = os.open(self._directory / NAME, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise
        self._file = file

    def release(self) -> None:
        """Gives the lock back, where it is held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
