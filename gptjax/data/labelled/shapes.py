"""Drawings of two shapes, with what they show in words: pictures that need no files.

for pixels, text in drawn_shapes(count=500, seed=0):
    ...
"""

from collections.abc import Iterator

import numpy as np

_SIDE = 32
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (230, 210, 40),
    "purple": (150, 50, 180),
    "grey": (128, 128, 128),
}
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = {"left of": (16, 8, 16, 24), "above": (8, 16, 24, 16)}


def drawn_shapes(count: int, seed: int) -> Iterator[tuple[np.ndarray, str]]:
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
            pixels[_inside(form, centre, int(rng.integers(5, 8)))] = COLOURS[colour]
        first, second = (f"a {c} {f}" for c, f in zip(colours, forms, strict=True))
        yield pixels, f"{first} {relation} {second}"


def _inside(form: str, centre: np.ndarray, radius: int) -> np.ndarray:
    """Which pixels [32, 32] a shape covers; its centre is (row, column)."""
    y, x = np.mgrid[:_SIDE, :_SIDE] - centre[:, None, None]
    box = (np.abs(y) <= radius) & (np.abs(x) <= radius)
    if form == "circle":
        return y**2 + x**2 <= radius**2
    if form == "square":
        return box
    if form == "triangle":
        return box & (2 * np.abs(x) <= y + radius)
    return box & ((np.abs(x) <= 2) | (np.abs(y) <= 2))
