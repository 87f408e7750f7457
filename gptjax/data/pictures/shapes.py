"""Drawings of shapes, with what they show in words: pictures that need no files.

for pixels, text in two_shapes(count=500, seed=0):
    ...
pixels, text = one_shape(7)
"""

from collections.abc import Iterator

import numpy as np

SHAPES = ("circle", "square", "triangle", "cross")

COLOURS = {  # on white
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (230, 210, 40),
    "purple": (150, 50, 180),
    "grey": (128, 128, 128),
}
RELATIONS = {"left of": (16, 8, 16, 24), "above": (8, 16, 24, 16)}
_SIDE = 32

BRIGHT = {  # on a dark ground
    "red": (230, 40, 40),
    "green": (40, 200, 60),
    "blue": (60, 90, 240),
    "white": (240, 240, 240),
}
_SMALL_SIDE = 16
_SEED = 20_230_227


def two_shapes(count: int, seed: int) -> Iterator[tuple[np.ndarray, str]]:
    """Draws two shapes each, of six colours, four forms and two relations: 1,152 texts.

    Args:
      count: drawings.
      seed: decides what they show, and where and how large.

    Returns:
      Iterator over pixels, uint8 [32, 32, 3] on white, and texts such as "a red circle left of a
      blue square".
    """
    rng = np.random.default_rng([seed, 1])
    for _ in range(count):
        relation = list(RELATIONS)[rng.integers(2)]
        colours = [list(COLOURS)[k] for k in rng.integers(0, len(COLOURS), 2)]
        forms = [SHAPES[k] for k in rng.integers(0, len(SHAPES), 2)]
        centres = np.reshape(RELATIONS[relation], (2, 2)) + rng.integers(-2, 3, (2, 2))
        pixels = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
        for form, colour, centre in zip(forms, colours, centres, strict=True):
            radius = int(rng.integers(5, 8))
            inside = _inside(form, _SIDE, centre, radius, half=radius, arm=2)
            pixels[inside] = COLOURS[colour]
        first, second = (f"a {c} {f}" for c, f in zip(colours, forms, strict=True))
        yield pixels, f"{first} {relation} {second}"


def one_shape(index: int) -> tuple[np.ndarray, str]:
    """Drawing number `index`, of which it is a pure function: of any size and place.

    Returns:
      Pixels, uint8 [16, 16, 3] on a dark ground, and what they show, such as "red circle"; four
      forms and four colours.
    """
    rng = np.random.default_rng([_SEED, index])
    form, colour = str(rng.choice(SHAPES)), str(rng.choice(list(BRIGHT)))
    radius = rng.uniform(3.0, 5.5)
    centre = rng.uniform(radius, _SMALL_SIDE - 1 - radius, 2)
    inside = _inside(form, _SMALL_SIDE, centre, radius, half=0.85 * radius, arm=0.35 * radius)
    ground = rng.integers(0, 40, (_SMALL_SIDE, _SMALL_SIDE, 3))
    pixels = np.where(inside[..., None], np.array(BRIGHT[colour]), ground)
    return pixels.astype(np.uint8), f"{colour} {form}"


def _inside(
    form: str, side: int, centre: np.ndarray, radius: float, *, half: float, arm: float
) -> np.ndarray:
    """Which pixels [side, side] a shape covers.

    Args:
      form: one of `SHAPES`.
      side: of the drawing.
      centre: row and column.
      radius: of the circle and of the cross; of the triangle, from the centre to the tip, and
        half of its base.
      half: of a side of the square; of the triangle, from the centre to the base.
      arm: half of the width of the cross's arms.
    """
    y, x = np.mgrid[:side, :side] - centre[:, None, None]
    far = np.maximum(np.abs(y), np.abs(x))
    if form == "circle":
        return y**2 + x**2 <= radius**2
    if form == "square":
        return far <= half
    if form == "triangle":
        return (y <= half) & (np.abs(x) * (radius + half) <= radius * (y + radius))
    return (np.minimum(np.abs(y), np.abs(x)) <= arm) & (far <= radius)
