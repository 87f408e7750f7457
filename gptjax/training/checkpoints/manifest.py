"""SHA-256 of every file below a directory, kept in it as `manifest.sha256`, to notice damage.

The format is that of `sha256sum`: `cd DIR && sha256sum -c manifest.sha256` checks it by hand.

    write_manifest(directory)
    damage = find_damage(directory)  # None, or "file params/d/93c1 does not match its SHA-256"
"""

import hashlib
from pathlib import Path

NAME = "manifest.sha256"


def write_manifest(directory: Path) -> None:
    """Records the digests of all files below `directory`; OSError where it cannot."""
    (directory / NAME).write_text("".join(sorted(_digests(directory), key=_path)))


def find_damage(directory: Path, part: str | None = None) -> str | None:
    """Says which file differs from the manifest, or None.

    Args:
      directory: has a manifest of its files.
      part: subdirectory to check, with the files of `directory` itself; None for everything.

    Returns:
      One clause naming a file that is missing, unreadable, not recorded or changed by a byte.
    """
    try:
        found = _digests(directory, part)
        text = (directory / NAME).read_bytes().decode(errors="replace")
    except OSError as error:
        return f"file {error.filename} cannot be read ({error.strerror})"
    recorded = {line for line in text.splitlines(keepends=True) if _is_in(_path(line), part)}
    if found == recorded:
        return None
    path = min(_path(line) for line in found ^ recorded)
    if path in {_path(line) for line in found}:
        return f"file {path} does not match its SHA-256"
    return f"file {path} is missing"


def content_hash(directory: Path) -> str:
    """SHA-256 of the manifest, and so of all that it records; OSError where there is none."""
    return hashlib.sha256((directory / NAME).read_bytes()).hexdigest()


def is_recorded(directory: Path, part: str) -> bool:
    """Whether the manifest names files of a subdirectory; of no manifest, False."""
    manifest = directory / NAME
    lines = manifest.read_text(errors="replace").splitlines() if manifest.is_file() else []
    return any(_path(line).startswith(f"{part}/") for line in lines)


def _digests(directory: Path, part: str | None = None) -> set[str]:
    """Returns the lines of a manifest of what is there now."""
    lines = set()
    for file in directory.rglob("*"):
        path = file.relative_to(directory).as_posix()
        if file.is_file() and path != NAME and _is_in(path, part):
            with file.open("rb") as stream:
                lines.add(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {path}\n")
    return lines


def _path(line: str) -> str:
    """Returns what follows 64 hexadecimal digits and two spaces."""
    return line[66:].removesuffix("\n")


def _is_in(path: str, part: str | None) -> bool:
    return part is None or "/" not in path or path.startswith(f"{part}/")
