"""A directory that is there as a whole or not at all.

with new_directory(Path("runs/x")) as unfinished:
    (unfinished / "config.json").write_text("{}")
"""

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gptjax import locks


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Gives a directory to fill, which gets the name `path` once it is filled, or is removed.

    It lies in a hidden one beside `path`, with a lock. What processes that were killed have left
    there for the same `path` is removed, too.

    Raises:
      ValueError: `path` is there and is not an empty directory, or cannot be made.
    """
    refuse_used(path)
    _remove_leftovers(path)
    hidden = path.absolute().with_name(f".{path.absolute().name}.{os.getpid()}")
    unfinished, own = hidden / path.absolute().name, locks.DirectoryLock(hidden)
    try:
        own.take()
        unfinished.mkdir()
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror}; expected a writable directory"
        ) from error
    try:
        yield unfinished
        refuse_used(path)
        unfinished.replace(path)  # over an empty directory, never over files
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        own.release()


def refuse_used(path: Path) -> None:
    """Raises ValueError where `path` is anything but missing or an empty directory."""
    if path.is_dir() and any(path.iterdir()):
        raise ValueError(f"{path} has files in it, expected a new or empty directory")
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, expected a new or empty directory")


def _remove_leftovers(path: Path) -> None:
    """Removes unfinished directories of `path` that no process fills any more."""
    path = path.absolute()
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if not leftover.suffix[1:].isdigit() or not (leftover / locks.NAME).is_file():
            continue  # somebody else's
        taken = locks.DirectoryLock(leftover)
        with contextlib.suppress(OSError):
            taken.take()
            shutil.rmtree(leftover)
        taken.release()
