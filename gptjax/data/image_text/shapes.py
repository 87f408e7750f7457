"""Coloured shapes, drawn here, and their names: images for trying things out.

    <image> is a red circle

Picture number i is a pure function of i: one of four shapes in one of four colours, of any size and
place, on a dark ground.

    learned, held_out = load_image_text("shapes:count=500", fraction=0.1)
"""

import dataclasses

from gptjax.data.dialogue.instructions_sets import parse_options
from gptjax.data.image_text.documents import SETS, ImageText, Sides, divided, interleaved
from gptjax.data.pictures.picture import Picture
from gptjax.data.pictures.shapes import one_shape
from gptjax.settings import setting


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
    pixels, name = one_shape(index)
    return interleaved("<image> is a", [Picture.of(pixels)], f" {name}")
