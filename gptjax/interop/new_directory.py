"""A directory that is there as a whole or not at all.

with new_directory(Path("runs/x")) as unfinished:
    (unfinished / "config.json").write_text("{}")
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Gives a directory beside `path` to fill, and its name once it is filled; or removes it.

    Raises:
      ValueError: `path` is there and is not an empty directory, or cannot be made.
    """
    refuse_used(path)
    unfinished = path.absolute().with_name(f".{path.absolute().name}.{os.getpid()}")
    try:
        unfinished.parent.mkdir(parents=True, exist_ok=True)
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
        shutil.rmtree(unfinished, ignore_errors=True)


def refuse_used(path: Path) -> None:
    """Raises ValueError where `path` is anything but missing or an empty directory."""
    if path.is_dir() and any(path.iterdir()):
        raise ValueError(f"{path} has files in it, expected a new or empty directory")
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, expected a new or empty directory")
