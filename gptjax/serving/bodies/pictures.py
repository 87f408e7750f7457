"""Pictures in messages of requests: PNG and JPEG as data URIs; nothing is fetched."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptjax.data.pictures.decoding import data_uri_content
from gptjax.data.pictures.picture import Picture
from gptjax.serving.errors import APIError
from gptjax.serving.served import Served

PART = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["image_url"]},
        "image_url": {
            "type": "object",
            "properties": {
                "url": {
                    "type": "string",
                    "description": "data:image/png;base64,... or data:image/jpeg;base64,...",
                },
                # A model reads all pictures at one size, so that low and high would be ignored.
                "detail": {"type": "string", "enum": ["auto"]},
            },
            "required": ["url"],
            "additionalProperties": False,
        },
    },
    "required": ["type", "image_url"],
    "additionalProperties": False,
}


def picture_of(served: Served, part: Mapping[str, Any], name: str) -> Picture:
    """The picture of a checked part, which is not decoded yet.

    Raises:
      APIError: the model reads no images, or what is no data URI of PNG or JPEG in base64; each
        names the field, which the client calls `name`.
    """
    if served.model.images is None:
        raise APIError(
            f"{name}: got a picture, expected text: the model {served.name} reads text alone",
            param="messages",
        )
    field = f"{name}.image_url.url"
    try:
        return Picture.of(data_uri_content(part["image_url"]["url"], field), field)
    except ValueError as error:
        raise APIError(str(error), param="messages") from error


def pixels_of(served: Served, pictures: Sequence[Picture]) -> np.ndarray | None:
    """The pictures as the model reads them, uint8 [N, H, W, C]; None: there are none.

    Raises:
      APIError: a picture that is broken, too large, or neither PNG nor JPEG.
    """
    form = served.model.images
    if form is None or not pictures:
        return None
    try:
        return form.pixels(pictures, len(pictures))
    except ValueError as error:
        raise APIError(str(error), param="messages") from error
