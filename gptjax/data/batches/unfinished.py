"""Directories that are filled before they get their name; a killed process leaves none for good.

with unfinished_directory(cache) as unfinished:
    ...
    (unfinished / "splits").rename(cache / key)
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gptjax.locks import DirectoryLock

PREFIX = "unfinished-"


@contextlib.contextmanager
def unfinished_directory(cache: Path) -> Iterator[Path]:
    """Gives a new directory in `cache`, and removes it at the end.

    First it removes those that no living process fills any more.

    Raises:
      OSError: `cache` cannot be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    for left in cache.glob(f"{PREFIX}*/"):
        _remove_unless_filled(left)
    made, lock = _new_directory(cache)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        lock.release()


def _new_directory(cache: Path) -> tuple[Path, DirectoryLock]:
    while True:
        made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=cache))
        lock = DirectoryLock(made)
        # Before it has its lock, another process may take it for one that was left.
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            lock.take()
            return made, lock


def _remove_unless_filled(directory: Path) -> None:
    lock = DirectoryLock(directory)
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        lock.take()
        shutil.rmtree(directory, ignore_errors=True)
    lock.release()
