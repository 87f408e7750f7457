"""SHA-256 of every file below a directory, kept in it as `manifest.sha256`, to notice damage.

The format is that of `sha256sum`: `cd DIR && sha256sum -c manifest.sha256` checks it by hand. Other
files, such as those that a desktop or NFS leaves in a directory, are none of its business.

    write_manifest(directory)
    damage = find_damage(directory)  # None, or "file params/d/93c1 does not match its SHA-256"
"""

import hashlib
import re
from pathlib import Path

NAME = "manifest.sha256"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_manifest(directory: Path) -> None:
    """Records the digests of all files below `directory`; OSError where it cannot.

    Hidden files are left out: orbax writes none, and those of others may go at any time.
    """
    files = (file for file in directory.rglob("*") if file.is_file())
    paths = sorted(file.relative_to(directory).as_posix() for file in files)
    seen = (path for path in paths if path != NAME and not re.search(r"(^|/)\.", path))
    lines = [f"{_digest(directory / path)}  {path}\n" for path in seen]
    (directory / NAME).write_text("".join(lines), encoding="utf-8")


def find_damage(directory: Path, part: str | None = None) -> str | None:
    """Says which file differs from the manifest, or None.

    Args:
      directory: has a manifest of its files.
      part: subdirectory to check, with the files of `directory` itself; None for everything.

    Returns:
      One clause naming a recorded file that is missing, unreadable or changed by a byte, or the
      manifest, if it is.
    """
    try:
        digests = _recorded(directory)
        if not any(part is None or path.startswith(f"{part}/") for path in digests):
            return f"file {NAME} is damaged"
        for path, digest in digests.items():
            if _is_in(path, part) and _digest(directory / path) != digest:
                return f"file {path} does not match its SHA-256"
    except FileNotFoundError as error:
        return f"file {Path(error.filename).relative_to(directory).as_posix()} is missing"
    except OSError as error:
        return f"file {error.filename} cannot be read ({error.strerror})"
    return None


def content_hash(directory: Path) -> str:
    """SHA-256 of the manifest, and so of all that it records; OSError where there is none."""
    return hashlib.sha256((directory / NAME).read_bytes()).hexdigest()


def is_recorded(directory: Path, part: str) -> bool:
    """Whether the manifest names files of a subdirectory; of no manifest, False."""
    recorded = _recorded(directory) if (directory / NAME).is_file() else {}
    return any(path.startswith(f"{part}/") for path in recorded)


def _recorded(directory: Path) -> dict[str, str]:
    """The digests in the manifest by path; empty where it is damaged, OSError where it is gone."""
    text = (directory / NAME).read_bytes().decode(errors="replace")
    *lines, rest = text.split("\n")
    matches = [_LINE.fullmatch(line) for line in lines]
    return {} if rest or None in matches else {match[2]: match[1] for match in matches if match}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_in(path: str, part: str | None) -> bool:
    return part is None or "/" not in path or path.startswith(f"{part}/")
