"""Pictures with a text each, and where they lie: in a folder, in a tar file.

picture = opener("jsonl:cats.jsonl", Path("cats.tar"))("cat.png", "a cat")
picture.pixels(32), picture.text
"""

import dataclasses
import hashlib
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from gptjax.data.pictures.decoding import MOST_BYTES
from gptjax.data.pictures.picture import Picture
from gptjax.registry import unknown_name

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclasses.dataclass(frozen=True)
class LabelledPicture:
    """A picture and its text.

    Attributes:
      name: of its file, or its number; begins error messages about it.
      text: its caption, or its class.
      picture: what is seen.
    """

    name: str
    text: str
    picture: Picture

    @classmethod
    def of(cls, name: str, text: str, source: Path | bytes | np.ndarray) -> "LabelledPicture":
        """The picture of a source, as `Picture.of`; of pixels the shape counts in its digest."""
        if isinstance(source, np.ndarray):  # by the digest pictures are held out
            content = repr(source.shape).encode() + source.tobytes()
            return cls(name, text, Picture(source, hashlib.sha256(content).hexdigest(), name))
        return cls(name, text, Picture.of(source, name))

    def pixels(
        self,
        size: int | tuple[int, int] | None = None,
        *,
        channels: int = 3,
        fit: str = "crop",
    ) -> np.ndarray:
        """The picture as uint8 [H, W, C]; arguments and errors are those of `read_picture`."""
        return self.picture.pixels(size, channels=channels, fit=fit)


def with_options(
    spec: str, location: str, allowed: Mapping[str, str | None]
) -> tuple[str, dict[str, str | None]]:
    """Cuts `PATH,name=value,...` into the path and the values of the options `allowed`.

    Args:
      spec: the whole specification, for messages.
      location: what follows the name of the set.
      allowed: the default of each option.

    Raises:
      ValueError: another option, or no path.
    """
    path, *given = location.split(",")
    while given and "=" not in given[0]:
        path += "," + given.pop(0)
    values = dict(allowed)
    for each in given:
        name, mark, value = each.partition("=")
        if not mark or not value:
            raise ValueError(f"{spec!r}: got {each!r}, expected name=value")
        if name not in allowed:
            raise unknown_name("option", name, allowed)
        values[name] = value
    if not path:
        raise ValueError(f"{spec!r}: got no path, expected {spec.partition(':')[0]}:PATH")
    return str(Path(path).expanduser()), values


def opener(spec: str, place: Path) -> Callable[[str, str], LabelledPicture]:
    """A function from the name of a picture and its text to the picture, in a folder or a tar file.

    Raises:
      ValueError: `place` is neither.
    """
    if place.is_dir():

        def below(name: str, text: str) -> LabelledPicture:
            path = _below(spec, place, name)
            return LabelledPicture.of(str(path), text, path)

        return below
    if not place.is_file():
        raise ValueError(
            f"{spec!r}: no pictures at {str(place)!r}, expected a folder or a tar file"
        )
    members = _tar_members(spec, place)
    by_name = {name.removeprefix("./"): content for name, content in members.items()}

    def in_tar(name: str, text: str) -> LabelledPicture:
        if name not in by_name:
            raise ValueError(f"{place}: got no picture {name!r}, expected one of that name")
        return LabelledPicture.of(f"{place}:{name}", text, by_name[name])

    return in_tar


def _below(spec: str, folder: Path, name: str) -> Path:
    """The file of that name below a folder, which a name may not leave."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{spec!r}: got the picture {name!r}, expected a file below {folder}")
    return path


def _tar_members(spec: str, path: Path) -> dict[str, bytes]:
    """The contents of the pictures in a tar file, by their names."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if not member.isfile() or not member.name.lower().endswith(SUFFIXES):
                    continue
                if member.size > MOST_BYTES:
                    raise ValueError(
                        f"{path}:{member.name}: got {member.size} bytes, expected at most "
                        f"{MOST_BYTES}"
                    )
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    except (tarfile.TarError, EOFError, OSError):
        raise ValueError(f"{spec!r}: {path}: got no whole tar file, expected one") from None
    return found
