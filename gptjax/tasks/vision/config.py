"""Configurations of runs that learn from pictures with texts.

config = ContrastiveConfig(contrastive=ContrastiveSection(train="jsonl:cats.jsonl"))
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.data.choices import FITS
from gptjax.settings import Check, setting
from gptjax.vision_config import Augmentation, ClipConfig, ImageClassifierConfig


@dataclasses.dataclass
class PicturesSection:
    """Pictures with texts, how they are changed in training, and the length of the run."""

    train: str | None = setting(
        None,
        "set of pictures with texts: jsonl:ROWS#image,caption, folder:PATH, mnist:PATH, emoji:PATH "
        "or shapes; none: it must be given",
    )
    validation: str | None = setting(
        None,
        "set of pictures with texts that are held out; none: data.validation_fraction of those in "
        "train",
        gives_way_to="train",
    )
    fit: str = setting(
        "crop",
        "what becomes of a picture that is no square: its middle is taken (crop), it is put on a "
        "white square (pad), or it is stretched",
        choices=FITS,
    )
    augment_scale: float = setting(
        0.0,
        "share of their size by which images grow or shrink at random in training",
        low=0.0,
        below=1.0,
    )
    augment_shift: float = setting(
        0.0, "share of their size by which images move at random in training", low=0.0, below=1.0
    )
    augment_mirror: bool = setting(
        False, "whether each other image is mirrored, left to right, in training"
    )
    augment_colour: float = setting(
        0.0,
        "share by which the channels of an image are multiplied, and moved, at random in training",
        low=0.0,
        below=1.0,
    )
    epochs: int | None = setting(
        None, "passes over the pictures; none: training.num_steps decides", low=1
    )
    warmup_fraction: float = setting(
        0.0,
        "share of the steps that warm the learning rate up, if optimizer.warmup_steps and "
        "optimizer.warmup_tokens say nothing",
        low=0.0,
        below=1.0,
    )

    @property
    def augmentation(self) -> Augmentation:
        """How images are changed in training."""
        return Augmentation(
            self.augment_scale, self.augment_shift, self.augment_mirror, self.augment_colour
        )


@dataclasses.dataclass
class ContrastiveSection(PicturesSection):
    """Pictures with captions, how they are changed in training, and the length of the run."""


@dataclasses.dataclass
class ContrastiveConfig(ExperimentConfig):
    """A run that trains an encoder of images and one of texts on pairs of both."""

    kind: ClassVar[str] = "contrastive"

    model: ClipConfig = dataclasses.field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=ClipConfig
    )
    contrastive: ContrastiveSection = dataclasses.field(default_factory=ContrastiveSection)


@dataclasses.dataclass
class ImageClassificationSection(PicturesSection):
    """Pictures of classes, how they are changed in training, and the length of the run."""


@dataclasses.dataclass
class ImageClassificationConfig(ExperimentConfig):
    """A run that trains an encoder of images to tell classes apart."""

    kind: ClassVar[str] = "image_classification"

    model: ImageClassifierConfig = dataclasses.field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=ImageClassifierConfig
    )
    images: ImageClassificationSection = dataclasses.field(
        default_factory=ImageClassificationSection
    )


def checks_of_images(config: ExperimentConfig) -> Iterator[Check]:
    """What runs that learn from images cannot have."""
    fits = config.lora.rank is None
    yield "lora.rank", fits, f"none for the kind of run {config.kind}"
    fits = config.training.sample_tokens == 0
    yield "training.sample_tokens", fits, f"0 for the kind of run {config.kind}, which writes none"
