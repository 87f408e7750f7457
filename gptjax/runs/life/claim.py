"""The claim of a run on the directory that it writes to: no other process writes there meanwhile.

with claimed(Path("runs/demo"), "--workdir"):
    ...
"""

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import jax

from gptjax.locks import DirectoryLock
from gptjax.training.processes import on_first, together


@contextlib.contextmanager
def claimed(path: Path, given_as: str) -> Iterator[None]:
    """Gives this run alone the right to write to a directory, which is made if it is missing.

    If nothing is written into a directory that it made, the directory is removed again.

    Args:
      path: of the directory. If the run has several processes, all of them must see the same one.
      given_as: the flag or the field that gave it, with which messages begin.

    Raises:
      ValueError: another run writes there, nobody can write there, or the processes of this run do
        not see the same directory.
    """
    lock, missing = DirectoryLock(path), not path.exists()
    try:
        note = on_first(lambda: _take(lock, given_as))
        if jax.process_count() > 1:
            together(lambda: _check_shared(lock.path, given_as, note))
        yield
    finally:
        if lock.held:
            lock.path.unlink(missing_ok=True)
            lock.release()
            if missing:
                _remove_empty(path)


def _take(lock: DirectoryLock, given_as: str) -> str:
    """Takes the lock; returns the note in its file, which says who has it."""
    note = f"process {os.getpid()} on {socket.gethostname()}, {uuid.uuid4()}"
    directory = lock.path.parent
    try:
        lock.take(note)
    except BlockingIOError as error:
        raise ValueError(
            f"{given_as}: {directory} is in use by {_holder(lock.path)}; expected a directory that "
            "no other run is writing to"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{given_as}: cannot write {directory}: {error.strerror}; expected a writable "
            "directory with space left"
        ) from error
    return note


def _holder(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text().partition(",")[0] or "another process"
    return "another process"


def _check_shared(file: Path, given_as: str, note: str) -> None:
    """Refuses a directory that is not the one which the first process has claimed.

    The file is opened as if to make it: otherwise NFS may answer from what it remembers.
    """
    directory = file.parent
    try:
        missing = not directory.exists()
        directory.mkdir(parents=True, exist_ok=True)
        with open(os.open(file, os.O_RDWR | os.O_CREAT, 0o666)) as opened:
            found = opened.read()
    except OSError as error:
        raise ValueError(f"{given_as}: cannot write {directory}: {error.strerror}") from error
    if found != note:
        if not found:
            file.unlink(missing_ok=True)
            if missing:
                _remove_empty(directory)
        raise ValueError(
            f"{given_as}: {directory} of process {jax.process_index()} is not the directory of "
            "process 0; expected one on a disk that all processes share"
        )


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):  # there is something in it
        directory.rmdir()
