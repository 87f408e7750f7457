"""Pictures and their captions as text with images, of any set of labelled pictures.

    <image> grinning face

`captions:SPEC` takes each set that a CLIP can learn from (`gptjax/data/labelled/pictures.py`), such
as `captions:jsonl:flickr30k.jsonl#image,caption` or `captions:emoji:DIR,style=google,language=de`.
All captions of a picture are on one side: held out, or not.

    learned, held_out = load_image_text("captions:emoji:emoji", fraction=0.1)
"""

import dataclasses

from gptjax.data.image_text.documents import SETS, Sides, divided, interleaved
from gptjax.data.labelled.pictures import load_pictures
from gptjax.tokenization.images import PLACE


@SETS.register("captions")
def captions(location: str, fraction: float) -> Sides:
    """Each picture, with its caption as the answer."""
    sides = divided(load_pictures(location), lambda each: each.picture.digest, fraction)
    learned, held_out = (
        tuple(
            dataclasses.replace(
                interleaved(PLACE, [each.picture], f" {each.text}", "captions"),
                cluster=each.picture.digest,
            )
            for each in side
        )
        for side in sides
    )
    return learned, held_out
