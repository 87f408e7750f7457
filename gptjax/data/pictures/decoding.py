"""Pictures of files, decoded: PNG and JPEG, through Pillow, of bounded sizes.

    pixels = read_picture("cat.png", 224)              # uint8 [224, 224, 3]
    pixels = read_picture(content, 32, name="cats.tar:cat.png", fit="pad")

A picture with transparency is laid on a background, white by default. Pictures of phones are turned
as their EXIF says.
"""

import base64
import io
import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.data.choices import FITS

MOST_BYTES = 32 * 2**20  # of a file
MOST_PIXELS = 4096 * 4096  # of a picture; more may be a decompression bomb
WHITE = (255, 255, 255)

# What Pillow raises for pictures that are not as they should be.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, zlib.error)
_DATA_URI = re.compile(r"data:image/(png|jpe?g);base64,", re.IGNORECASE)


def read_picture(
    source: str | os.PathLike[str] | bytes,
    size: int | tuple[int, int] | None = None,
    *,
    channels: int = 3,
    fit: str = "crop",
    background: tuple[int, int, int] = WHITE,
    name: str | None = None,
) -> np.ndarray:
    """Decodes a picture.

    Args:
      source: path of a file, or its content.
      size: rows and columns of the result, or one number for both; None: those of the picture.
      channels: 3 of red, green and blue, or 1 of grey.
      fit: what becomes of a picture of another shape: its middle is taken (crop), it is put in the
        middle of the background (pad), or it is stretched.
      background: what is behind transparent pixels and beside those that are padded.
      name: of the picture in error messages; None: its path.

    Returns:
      uint8 [H, W, C].

    Raises:
      ValueError: no such file, what is neither PNG nor JPEG, a broken picture, or one that is too
        large.
    """
    from PIL import ImageOps  # 0.1 s that runs of text need not wait for

    assert fit in FITS and channels in (1, 3)
    content = source if isinstance(source, bytes) else _content(Path(source))
    if name is None:
        name = f"picture of {len(content)} bytes" if isinstance(source, bytes) else str(source)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name}: got {len(content)} bytes, expected at most {MOST_BYTES}")
    try:
        picture = _opened(content)
    except _BROKEN:
        raise ValueError(f"{name}: got no PNG or JPEG picture, expected one of the two") from None
    width, height = picture.size
    if width * height > MOST_PIXELS:  # before anything of it is decoded
        raise ValueError(
            f"{name}: got {width} x {height} pixels, expected at most {MOST_PIXELS} together"
        )
    try:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        picture = _laid_on(picture, background)
    except _BROKEN as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name}: got a broken picture ({said}), expected a whole one") from None
    return _pixels(picture, size, channels, fit, background)


def fitted_pixels(
    pixels: np.ndarray,
    size: int | tuple[int, int] | None = None,
    *,
    channels: int = 3,
    fit: str = "crop",
    background: tuple[int, int, int] = WHITE,
) -> np.ndarray:
    """Makes of pixels [H, W] or [H, W, C] uint8 what `read_picture` makes of a file of them."""
    from PIL import Image

    assert fit in FITS and channels in (1, 3) and pixels.dtype == np.uint8
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    return _pixels(_laid_on(picture, background), size, channels, fit, background)


def _pixels(
    picture: Any,
    size: int | tuple[int, int] | None,
    channels: int,
    fit: str,
    background: tuple[int, int, int],
) -> np.ndarray:
    """The pixels of an RGB picture at a size."""
    if size is not None:
        picture = _fitted(picture, (size, size) if isinstance(size, int) else size, fit, background)
    pixels = np.array(picture if channels == 3 else picture.convert("L"))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def data_uri_content(uri: str, name: str = "image") -> bytes:
    """The content of a picture that is written as `data:image/png;base64,...`.

    Args:
      uri: of PNG or JPEG; nothing is fetched.
      name: of the picture in error messages.

    Raises:
      ValueError: any other address, or what is not base64.
    """
    match = _DATA_URI.match(uri)
    if match is None:
        shown = uri if len(uri) <= 40 else f"{uri[:40]}..."
        raise ValueError(
            f"{name}: got {shown!r}, expected data:image/png;base64,... or data:image/jpeg;base64,"
        )
    if len(uri) > MOST_BYTES * 4 // 3 + 64:
        raise ValueError(f"{name}: got {len(uri)} characters, expected at most {MOST_BYTES} bytes")
    try:
        return base64.b64decode(uri[match.end() :], validate=True)
    except ValueError as error:  # binascii.Error, or characters that are not ASCII
        raise ValueError(f"{name}: got no base64 ({error}), expected base64") from None


def _content(path: Path) -> bytes:
    try:
        with open(path.expanduser(), "rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"{path}: got {reason}, expected a picture") from None


def _opened(content: bytes) -> Any:
    """A picture whose head alone is read.

    `Image.open` would also print a warning about some sizes that are refused here.
    """
    from PIL import JpegImagePlugin, PngImagePlugin

    reads_png = content.startswith(b"\x89PNG")
    reader = PngImagePlugin.PngImageFile if reads_png else JpegImagePlugin.JpegImageFile
    return reader(io.BytesIO(content))


def _laid_on(picture: Any, background: tuple[int, int, int]) -> Any:
    """A picture of any mode as RGB, on the background where it is transparent."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits of grey, which `convert` would cut off at 255
        wide = np.asarray(picture).astype(np.int64)
        return Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        behind = Image.new("RGBA", picture.size, (*background, 255))
        return Image.alpha_composite(behind, picture).convert("RGB")
    return picture.convert("RGB")


def _fitted(picture: Any, size: tuple[int, int], fit: str, background: tuple[int, int, int]) -> Any:
    """A picture of `size` rows and columns, bicubically resampled as CLIP's are."""
    from PIL import Image, ImageOps

    columns_and_rows = (size[1], size[0])
    method = Image.Resampling.BICUBIC
    if picture.size == columns_and_rows:
        return picture
    if fit == "crop":
        return ImageOps.fit(picture, columns_and_rows, method=method)
    if fit == "pad":
        return ImageOps.pad(picture, columns_and_rows, method=method, color=background)
    return picture.resize(columns_and_rows, method)
