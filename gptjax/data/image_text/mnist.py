"""MNIST as text with images: a digit and its name in words, and sums of two digits.

    <image> is seven            <image> plus <image> is twelve

The sets `mnist:DIR` (names) and `mnist_sums:DIR` (names and sums) read the files of idx format that
LeCun et al. 1998 published, compressed or not: of a directory those of its training images, or, if
it has none, of the test images. `DIR/t10k` and `DIR/train` say which.

Held-out documents show held-out pictures alone. Of the 55 pairs of digits, five are in no sum that
is learned; held-out sums of them are counted apart, as `sums_of_new_digits`.

    learned, held_out = load_image_text("mnist_sums:mnist", fraction=0.1)
"""

from pathlib import Path

import numpy as np

from gptjax.data.corpora.text_files import COMPRESSED, open_bytes
from gptjax.data.image_text.documents import SETS, ImageText, Picture, Sides, divided, interleaved

WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
)
NEW_PAIRS = ((0, 7), (1, 4), (2, 9), (3, 8), (5, 6))  # each digit once

_SUMS_A_PICTURE = 4  # learned sums that a picture is the first of
_MAGIC = {3: 0x0803, 1: 0x0801}  # by number of axes, of unsigned bytes
_FILES = ("images-idx3-ubyte", "labels-idx1-ubyte")


@SETS.register("mnist")
def names(location: str, fraction: float) -> Sides:
    """Digits and their names."""
    learned, held_out = (_named(side) for side in _divided(location, fraction))
    return learned, held_out


@SETS.register("mnist_sums")
def sums(location: str, fraction: float) -> Sides:
    """Digits and their names, and sums of two digits, four times as many."""
    learned, held_out = _divided(location, fraction)
    return (
        _named(learned) + _sums(learned, seed=0, with_new=False),
        _named(held_out) + _sums(held_out, seed=1, with_new=True),
    )


Digit = tuple[Picture, int]


def _divided(location: str, fraction: float) -> tuple[tuple[Digit, ...], tuple[Digit, ...]]:
    images, labels = read_mnist(Path(location))
    digits = [(Picture.of(image), int(label)) for image, label in zip(images, labels, strict=True)]
    return divided(digits, lambda digit: digit[0].digest, fraction)


def _named(digits: tuple[Digit, ...]) -> tuple[ImageText, ...]:
    return tuple(
        interleaved("<image> is", [picture], f" {WORDS[digit]}", "names")
        for picture, digit in digits
    )


def _sums(digits: tuple[Digit, ...], *, seed: int, with_new: bool) -> tuple[ImageText, ...]:
    """Each digit plus four others, drawn from `seed`; one, of pictures that are held out."""
    rng, made = np.random.default_rng(seed), []
    for picture, digit in digits:
        for _ in range(1 if with_new else _SUMS_A_PICTURE):
            other, second = digits[rng.integers(len(digits))]
            is_new = (min(digit, second), max(digit, second)) in NEW_PAIRS
            if is_new and not with_new:
                continue
            group = "sums_of_new_digits" if is_new else "sums"
            answer = f" {WORDS[digit + second]}"
            made.append(interleaved("<image> plus <image> is", [picture, other], answer, group))
    return tuple(made)


def read_mnist(location: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 28, 28] uint8, 0 of the ground and 255 of ink, and labels [N] uint8.

    Raises:
      ValueError: no such files, or others than of the idx format.
    """
    stems = [location / "train", location / "t10k"] if location.is_dir() else [location]
    for stem in stems:
        found = [_found(stem.parent, f"{stem.name}-{file}") for file in _FILES]
        if all(found):
            images, labels = (
                _read(path, axes) for path, axes in zip(found, (3, 1), strict=True) if path
            )
            if len(images) != len(labels) or labels.max() > 9:
                raise ValueError(
                    f"{stem}: got {len(images)} images and {len(labels)} labels up to "
                    f"{labels.max()}, expected as many of both, of 0 to 9"
                )
            return images, labels
    raise ValueError(
        f"{location}: got no {stems[-1].name}-{_FILES[0]} and -{_FILES[1]}, compressed or not, "
        "expected the directory of MNIST's files, or DIR/t10k"
    )


def _found(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}{suffix}" for suffix in ("", *COMPRESSED))
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path, axes: int) -> np.ndarray:
    with open_bytes(path) as file:
        content = file.read()
    head = np.frombuffer(content[: 4 * (axes + 1)], ">i4")
    size = int(np.prod(head[1:], dtype=np.int64)) if head.size == axes + 1 else -1
    if size < 1 or head[0] != _MAGIC[axes] or len(content) != 4 * (axes + 1) + size:
        raise ValueError(
            f"{path}: got {len(content)} bytes of another format, expected idx of unsigned bytes "
            f"with {axes} axes"
        )
    return np.frombuffer(content, np.uint8, offset=4 * (axes + 1)).reshape(head[1:])
