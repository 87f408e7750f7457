"""Configuration of a run that learns from text with images in it.

config = ImageTextConfig(image_text=ImageTextSection(train="jsonl:pages.jsonl"))
"""

import dataclasses
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.multimodal_config import MultimodalConfig
from gptjax.settings import setting

NOTHING, IMAGES, TEXT = HIDDEN = ("nothing", "images", "text")


@dataclasses.dataclass
class ImageTextSection:
    """The documents, what becomes of their images, and how answers are judged."""

    train: str | None = setting(
        None,
        "documents to learn from: jsonl:PATH, where a row has text, images and perhaps an answer; "
        "captions:SET of a set of pictures, mnist:DIR, mnist_sums:DIR, nlvr:DIR, or shapes, which "
        "are drawn here; none: it must be given",
    )
    validation: str | None = setting(
        None,
        "documents that are held out; none: data.validation_fraction of image_text.train",
        gives_way_to="train",
    )
    max_images: int | None = setting(
        None, "images in a row at most; none: as many as its tokens have room for", low=1
    )
    encoder: str = setting(
        "trained",
        "whether the encoder of images, which checkpoint.init_from may take from a CLIP, is "
        "trained with the rest, or stays as it is (frozen)",
        choices=("trained", "frozen"),
    )
    fit: str = setting(
        "crop",
        "what becomes of an image of another shape: its middle is taken (crop), it is put in the "
        "middle of white (pad), or it is stretched",
        choices=("crop", "pad", "stretch"),
    )
    place: str = setting(
        "text",
        "where the images of a document stand in its row: where its text has them (text), or in "
        "front of all text (first)",
        choices=("text", "first"),
    )
    shots: int = setting(
        0,
        "documents of its group that stand before a document of training, with their answers, at "
        "most: how many is drawn for each, and as many are taken as fit",
        low=0,
    )
    shift: float = setting(
        0.0, "most pixels that training moves an image by, along each axis", low=0.0
    )
    rotation: float = setting(
        0.0, "most degrees that training turns an image by", low=0.0, high=180.0
    )
    hide: str = setting(
        NOTHING,
        "what the model is not shown, for baselines: images, which become black, or the text "
        "before answers",
        choices=HIDDEN,
    )
    judged: int = setting(
        200, "held-out documents whose answers are judged at each evaluation, at most", low=0
    )
    judged_at_end: int | None = setting(
        None, "the same of the evaluation at the end; none: all", low=0
    )
    max_answer_tokens: int = setting(16, "tokens of an answer that is judged, at most", low=1)


@dataclasses.dataclass
class ImageTextConfig(ExperimentConfig):
    """A run that trains a decoder that reads images among its text."""

    kind: ClassVar[str] = "image_text"

    model: MultimodalConfig = dataclasses.field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=MultimodalConfig
    )
    image_text: ImageTextSection = dataclasses.field(default_factory=ImageTextSection)

    @property
    def row_images(self) -> int:
        """Images in a row at most, of a resolved configuration."""
        room = self.model.context_length // (self.model.text_places + 2)
        return min(self.image_text.max_images or room, room)
