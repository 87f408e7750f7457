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

from gptjax.data.image_text.documents import SETS, ImageText, Sides, divided, interleaved
from gptjax.data.pictures.digits import WORDS, found, read_digits
from gptjax.data.pictures.picture import Picture

NEW_PAIRS = ((0, 7), (1, 4), (2, 9), (3, 8), (5, 6))  # each digit once

_SUMS_A_PICTURE = 4  # learned sums that a picture is the first of
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
    images, labels = _digits(Path(location))
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


def _digits(location: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels as of `read_digits`, which also says what is refused."""
    stems = [location / "train", location / "t10k"] if location.is_dir() else [location]
    for stem in stems:
        images, labels = (found(stem.parent, f"{stem.name}-{file}") for file in _FILES)
        if images and labels:
            return read_digits(images, labels)
    raise ValueError(
        f"{location}: got no {stems[-1].name}-{_FILES[0]} and -{_FILES[1]}, compressed or not, "
        "expected the directory of MNIST's files, or DIR/t10k"
    )
