"""Files that are not on this machine's disks: s3://, gs://, memory:// and all that fsspec opens.

    for path in remote_files("s3://bucket/crawl", (".jsonl", ".jsonl.gz")):
        with path.open("rb") as file:
            ...

It takes the extra `remote`, and the storage's own package: s3fs for s3://, gcsfs for gs://.
"""

import dataclasses
import importlib
import io
from pathlib import Path, PurePosixPath
from typing import Any

_MARK = "://"


def is_remote(location: str) -> bool:
    """Whether a location is a URL."""
    return _MARK in location


@dataclasses.dataclass(frozen=True, order=True)
class RemotePath:
    """A file by its URL, with the members of `pathlib.Path` that readers use."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.url).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.url).suffix

    def with_suffix(self, suffix: str) -> "RemotePath":
        """The URL with another suffix, or "" for none."""
        return RemotePath(self.url.removesuffix(self.suffix) + suffix)

    def open(self, mode: str) -> io.BufferedReader:
        """Opens the file for reading, mode "rb"."""
        system, path = _system(self.url)
        return io.BufferedReader(_translated(self.url, system.open, path, mode))

    def state(self) -> str:
        """Changes when the content does: a checksum, or times and sizes, as the storage has it."""
        system, path = _system(self.url)
        return str(_translated(self.url, system.ukey, path))


FilePath = Path | RemotePath


def remote_files(location: str, endings: tuple[str, ...]) -> tuple[RemotePath, ...]:
    """Files at a location, in sorted order.

    Args:
      location: URL of a file, of a directory, which is searched through, or with a glob in it.
      endings: how names in a directory may end; those that begin with a dot are left out.

    Raises:
      ValueError: fsspec or the package of the storage is missing, or the storage refuses.
    """
    system, path = _system(location)
    if _translated(location, system.isfile, path):
        found = [path]
    elif _translated(location, system.isdir, path):
        found = _translated(location, system.find, path)
        found = [name for name in found if name.endswith(endings) and "/." not in name]
    else:
        found = _translated(location, system.glob, path)
        found = [name for name in found if _translated(location, system.isfile, name)]
    return tuple(sorted(RemotePath(system.unstrip_protocol(name)) for name in found))


def _system(url: str) -> tuple[Any, str]:
    try:
        fsspec = importlib.import_module("fsspec.core")
    except ImportError:
        raise ValueError(
            f"{url!r} needs the package fsspec, which is not installed; expected the extra "
            "`remote` (pip install 'gptjax[remote]')"
        ) from None
    return _translated(url, fsspec.url_to_fs, url)


def _translated(url: str, function: Any, *arguments: Any) -> Any:
    """Calls a function of a storage, whose errors are of many classes."""
    try:
        return function(*arguments)
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"cannot read {url}: {said}; expected a readable location") from error
