"""Files of MNIST (LeCun et al. 1998): handwritten digits, and their labels.

images, labels = read_digits(
    found(folder, "t10k-images-idx3-ubyte"), found(folder, "t10k-labels-idx1-ubyte")
)
WORDS[labels[0]]
"""

from pathlib import Path

import numpy as np

from gptjax.data.corpora.text_files import COMPRESSED, open_bytes

WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
)
_MOST_BYTES = 2**30  # of a file, unpacked


def found(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder, compressed or not; None: there is none."""
    paths = (folder / f"{name}{suffix}" for suffix in ("", *COMPRESSED))
    return next((path for path in paths if path.is_file()), None)


def read_digits(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, rows, columns] uint8, 0 of the ground and 255 of ink, and labels [N] uint8.

    Raises:
      ValueError: other files than of the idx format, or that do not belong together.
    """
    pixels, classes = idx_array(images), idx_array(labels)
    if pixels.ndim != 3 or classes.ndim != 1 or len(pixels) != len(classes) or not len(pixels):
        raise ValueError(
            f"{images}: got images {list(pixels.shape)} and labels {list(classes.shape)}, expected "
            "[N, rows, columns] and [N], a label for each image"
        )
    if classes.max() > 9:
        raise ValueError(f"{labels}: got the label {classes.max()}, expected 0 to 9")
    return pixels, classes


def idx_array(path: Path) -> np.ndarray:
    """A file of the idx format, of unsigned bytes, as an array of its shape.

    Raises:
      ValueError: it cannot be read, is damaged, or of another format.
    """
    with open_bytes(path) as file:
        content = file.read(_MOST_BYTES + 1)
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    if content[:3] != b"\0\0\x08" or not axes or len(content) < start:
        raise ValueError(
            f"{path}: got {len(content)} bytes of another format, expected idx of unsigned bytes, "
            "as MNIST's"
        )
    shape = np.frombuffer(content, ">u4", axes, 4).tolist()
    size = int(np.prod(shape, dtype=object))
    if len(content) - start != size:
        raise ValueError(
            f"{path}: got {len(content) - start} bytes, expected {size} of an array {shape}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
