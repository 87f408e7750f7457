"""Locks of files and directories that one process at a time writes to.

The lock is on a file, not on a directory: a shared file system (NFS) locks nothing else. The
kernel releases it when the process ends, however it ends.

    lock = DirectoryLock(directory)
    lock.take()
"""

import errno
import fcntl
import os
from pathlib import Path

NAME = "lock"


def open_locked(path: str | os.PathLike[str]) -> int:
    """Opens a file for this process alone; it is made if it is missing.

    Returns:
      The file descriptor. The lock lasts until it is closed.

    Raises:
      BlockingIOError: another process has the file open in this way.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (os.path.exists(path) and os.path.samestat(os.fstat(file), os.stat(path))):
            # The process that had it has renamed or removed it meanwhile.
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
    except OSError:
        os.close(file)
        raise
    return file


class DirectoryLock:
    """Lock that gives one process the right to write to a directory."""

    def __init__(self, directory: Path):
        """`directory` is made when the lock is taken."""
        self._directory = directory
        self._file: int | None = None

    @property
    def path(self) -> Path:
        """The file that is locked."""
        return self._directory / NAME

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._file is not None

    def take(self, note: str = "") -> None:
        """Takes the lock, and writes a `note` into its file.

        Raises:
          BlockingIOError: another process has it.
          OSError: nobody can take it.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._file = open_locked(self.path)
        os.ftruncate(self._file, 0)
        os.write(self._file, note.encode())

    def release(self) -> None:
        """Gives the lock back, where it is held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def holds_files(directory: Path) -> bool:
    """Whether a directory holds more than its lock and hidden files, such as a desktop leaves."""
    return any(file.name != NAME and file.name[0] != "." for file in directory.iterdir())
