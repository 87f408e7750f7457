"""Files of data, found by the path, the directory or the glob that a user gives.

for path in find_files("text:books", "books", ".txt"):
    with open_text(path) as file:
        ...
"""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from absl import logging

from gptjax.data.corpora.remote import FilePath, is_remote, remote_files
from gptjax.data.corpora.text_files import COMPRESSED


def find_files(spec: str, location: str, suffix: str) -> tuple[FilePath, ...]:
    """Lists the files of a corpus, in sorted order; each real file once, whatever links there are.

    Args:
      spec: the corpus or the set, for messages.
      location: a file; a directory, searched through; or a glob, where ** spans directories; or
        the URL of one of them, as `remote` opens it.
      suffix: how names in a directory must end, but for one of `COMPRESSED` behind it; those that
        begin with a dot are left out.

    Raises:
      ValueError: nothing is there.
    """
    location = os.path.expanduser(location)
    wanted = "a file, a directory or a glob that matches files"
    endings = tuple(suffix + end for end in ("", *COMPRESSED))
    passed_over: set[str] = set()
    if is_remote(location):
        found = remote_files(location, endings)
        if not found:
            raise ValueError(f"{spec!r}: no files at {location!r}; expected {wanted}")
        return found
    if os.path.isdir(location):
        wanted = f"files named {', '.join(f'*{ending}' for ending in endings)} in it, or a glob"
        below = _matches(os.path.join(glob.escape(location), "**", "*"), passed_over)
        found = [path for path in below if path.endswith(endings)]
    elif os.path.exists(location):
        found = [location]
    else:
        found = list(_matches(location, passed_over))
    files = _each_once((path for path in found if not os.path.isdir(path)), passed_over)
    if not files:
        raise ValueError(f"{spec!r}: no files at {location!r}; expected {wanted}")
    if passed_over:
        logging.warning(
            "%s: passed over %d links to files or folders that are read already; one is %s",
            *(spec, len(passed_over), min(passed_over)),
        )
    return files


def _matches(pattern: str, passed_over: set[str]) -> Iterator[str]:
    """As `glob.glob(pattern, recursive=True)`, but ** spans each real directory once."""
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.glob(pattern)
        return
    place = parts.index("**")
    tops = glob.glob("/".join(parts[:place]) or "/") if place else ["."]
    for top in tops:
        for folder in _folders(top, passed_over):
            below = "/".join(parts[place + 1 :] or ["*"])
            yield from _matches(os.path.join(glob.escape(folder), below), passed_over)


def _folders(top: str, passed_over: set[str]) -> Iterator[str]:
    """A directory and all below it; links are followed last, and only to what is new."""
    tops, seen = [top], set()
    while tops:
        links = []
        for folder, below, _ in (entry for top in tops for entry in os.walk(top)):
            real = os.path.realpath(folder)
            if real in seen:
                passed_over.add(folder)
                below.clear()
                continue
            seen.add(real)
            yield folder
            below[:] = [name for name in below if not name.startswith(".")]
            paths = (os.path.join(folder, name) for name in below)
            links += filter(os.path.islink, paths)
        tops = sorted(links)


def _each_once(paths: Iterable[str], passed_over: set[str]) -> tuple[Path, ...]:
    kept: dict[str, str] = {}
    for path in sorted(set(paths), key=lambda path: (os.path.islink(path), path)):
        if kept.setdefault(os.path.realpath(path), path) != path:
            passed_over.add(path)
    return tuple(map(Path, sorted(kept.values())))
