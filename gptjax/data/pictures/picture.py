"""A picture, wherever it lies: in a file, in the bytes of one, in memory as pixels.

picture = Picture.of(Path("cat.png"))
picture.pixels(32), picture.digest
"""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from gptjax.data.pictures.decoding import (
    MOST_BYTES,
    data_uri_content,
    fitted_pixels,
    read_picture,
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture, which is decoded when it is needed.

    Attributes:
      source: a file, the bytes of one, or pixels [H, W] or [H, W, C] uint8, 0 to 255.
      digest: SHA-256 (hex) of its content; equal pictures have the same.
      name: begins error messages about it; None: its path, or what little is known of bytes.
    """

    source: Path | bytes | np.ndarray = dataclasses.field(repr=False, compare=False)
    digest: str
    name: str | None = dataclasses.field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, source: Path | bytes | np.ndarray, name: str | None = None) -> "Picture":
        """The picture of a source; ValueError for a file that cannot be read, or is too large."""
        if isinstance(source, Path):
            try:
                if (size := source.stat().st_size) > MOST_BYTES:
                    raise ValueError(f"{source}: got {size} bytes, expected at most {MOST_BYTES}")
                content = source.read_bytes()
            except OSError as error:
                raise ValueError(
                    f"{source}: got {error.strerror}, expected a picture, PNG or JPEG"
                ) from None
        else:
            content = source if isinstance(source, bytes) else source.tobytes()
        return cls(source, hashlib.sha256(content).hexdigest(), name)

    @classmethod
    def at(cls, reference: str, folder: Path = Path()) -> "Picture":
        """The picture that a text refers to: a file, relative to `folder`, or a data URI.

        Raises:
          ValueError: a URL, which is not fetched; a URI that is no image in base64; no such file.
        """
        if reference.startswith("data:"):
            return cls.of(data_uri_content(reference))
        if "://" in reference:
            raise ValueError(
                f"image: got the URL {reference[:60]!r}, expected a file or a data URI; nothing is "
                "fetched"
            )
        return cls.of(folder / reference)

    def pixels(
        self,
        size: int | tuple[int, int] | None = None,
        *,
        channels: int = 3,
        fit: str = "crop",
    ) -> np.ndarray:
        """The picture as uint8 [H, W, C]; arguments and errors are those of `read_picture`."""
        if isinstance(self.source, np.ndarray):
            return fitted_pixels(self.source, size, channels=channels, fit=fit)
        return read_picture(self.source, size, channels=channels, fit=fit, name=self.name)
