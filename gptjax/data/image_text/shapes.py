"""Coloured shapes, drawn here, and their names: images for trying things out.

    <image> is a red circle

Picture number i is a pure function of i: one of four shapes in one of four colours, of any size and
place, on a dark ground.

    learned, held_out = load_image_text("shapes:count=500", fraction=0.1)
"""

import dataclasses

import numpy as np

from gptjax.data.dialogue.instructions_sets import parse_options
from gptjax.data.image_text.documents import SETS, ImageText, Picture, Sides, divided, interleaved
from gptjax.settings import setting

SIZE = 16  # pixels of a side
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (230, 40, 40),
    "green": (40, 200, 60),
    "blue": (60, 90, 240),
    "white": (240, 240, 240),
}
_SEED = 20_230_227


@dataclasses.dataclass
class ShapesOptions:
    """Options of the set."""

    count: int = setting(2000, "pictures in the set", low=2)


@SETS.register("shapes")
def shapes(location: str, fraction: float) -> Sides:
    """Shapes and their names; 2,000 pictures unless `count` says another number."""
    spec = f"shapes:{location}" if location else "shapes"
    options = parse_options(spec, location, ShapesOptions)
    return divided(map(_document, range(options.count)), lambda document: document, fraction)


def _document(index: int) -> ImageText:
    pixels, name = drawn(index)
    return interleaved("<image> is a", [Picture.of(pixels)], f" {name}")


def drawn(index: int) -> tuple[np.ndarray, str]:
    """A picture [SIZE, SIZE, 3] uint8, and what it shows, such as "red circle"."""
    rng = np.random.default_rng([_SEED, index])
    shape, colour = str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS)))
    radius = rng.uniform(3.0, 5.5)
    middle = rng.uniform(radius, SIZE - 1 - radius, 2)
    y, x = (np.mgrid[:SIZE, :SIZE] - middle[:, None, None]) / radius
    inside = {
        "circle": y**2 + x**2 <= 1,
        "square": np.maximum(abs(y), abs(x)) <= 0.85,
        "triangle": (y <= 0.85) & (abs(x) <= (y + 1) / 1.85),
        "cross": (np.minimum(abs(y), abs(x)) <= 0.35) & (np.maximum(abs(y), abs(x)) <= 1),
    }[shape]
    ground = rng.integers(0, 40, (SIZE, SIZE, 3))
    pixels = np.where(inside[..., None], np.array(COLOURS[colour]), ground)
    return pixels.astype(np.uint8), f"{colour} {shape}"
