"""The configurations of an encoder of images, and of one of images and texts.

config = VisionConfig(image_size=32, patch_size=4, num_layers=4, num_heads=4).resolved()
"""

import dataclasses
from typing import Any

from gptjax.model_config import ModelConfig
from gptjax.settings import setting


@dataclasses.dataclass
class VisionConfig(ModelConfig):
    """An encoder of images: each patch sees all patches. It has no vocabulary."""

    parametrization: str = setting("standard", "that of the paper", choices=("standard",))

    image_size: int = setting(224, "rows and columns of an image, in pixels", low=1)
    patch_size: int = setting(
        16, "rows and columns of a patch, in pixels; a divisor of image_size", low=1
    )
    num_channels: int = setting(3, "channels of an image: 3 of colours, 1 of grey", low=1, high=3)
    pooling: str = setting(
        "class",
        "what stands for a whole image: the hidden state of a class token in front of the patches, "
        "or the mean over all patches",
        choices=("class", "mean"),
    )
    pooler: bool = setting(
        False, "whether a dense layer and tanh follow the pooling, as in ViT's pretraining"
    )
    entry_norm: bool = setting(
        False, "whether a LayerNorm stands between the embedded patches and the layers, as in CLIP"
    )
    patch_bias: bool = setting(True, "whether the embedding of patches has a bias; CLIP's has none")
    pixel_range: str = setting(
        "half",
        "how pixels of 0 to 255 become numbers: from -1 to 1 (half), or by the means and "
        "deviations of the three channels of CLIP's pictures (clip)",
        choices=("half", "clip"),
    )
    positions: str = setting(
        "learned",
        "how the model encodes the position of a patch; sinusoidal_2d: by waves of its row and of "
        "its column",
        choices=("learned", "sinusoidal_2d", "none"),
    )
    vocab_size: int = setting(256, "of no use: images have no vocabulary", low=2)
    trunk: str = setting("transformer", "layers of attention", choices=("transformer",))
    context_length: int | None = setting(  # pyright: ignore[reportIncompatibleVariableOverride]
        None,
        "positions of an image; none: as many as it has patches, and one for a class token",
        low=1,
    )
    activation: str = setting(
        "gelu",
        "activation function of the feed-forward layers; gelu_sigmoid is CLIP's",
        choices=("gelu_tanh", "gelu", "gelu_sigmoid", "relu"),
    )
    layer_norm_epsilon: float = setting(
        1e-6, "number added to the variance in LayerNorm; 1e-5 in CLIP", above=0.0
    )

    @property
    def grid(self) -> int:
        """Rows, and columns, of patches of an image."""
        return self.image_size // self.patch_size

    @property
    def num_positions(self) -> int:
        """Patches, and the class token where there is one."""
        return self.grid**2 + (self.pooling == "class")

    def resolve(self) -> None:
        """Resolves as a decoder does, and fills in the number of positions.

        Raises:
          ValueError: patches that do not fill an image, or fields that contradict each other.
        """
        super().resolve()
        positions, channels = self.num_positions, self.num_channels
        checks = (
            (
                "patch_size",
                self.image_size % self.patch_size == 0,
                f"a divisor of image_size = {self.image_size}",
            ),
            (
                "context_length",
                self.context_length in (None, positions),
                f"none, or {positions}: positions of an image of {self.grid} x {self.grid} patches",
            ),
            ("num_channels", channels != 2, "1 or 3"),
            ("pixel_range", self.pixel_range == "half" or channels == 3, "half with one channel"),
            (
                "d_model",
                self.positions != "sinusoidal_2d" or self.d_model % 4 == 0,
                "a multiple of 4 with positions=sinusoidal_2d",
            ),
        )
        for name, fits, allowed in checks:
            if not fits:
                raise ValueError(
                    f"config.model.{name}: got {getattr(self, name)}, expected {allowed}"
                )
        self.context_length = positions  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclasses.dataclass
class ClipConfig(ModelConfig):
    """An encoder of texts, which is a decoder without its logits, beside one of images."""

    trunk: str = setting("transformer", "layers of attention", choices=("transformer",))
    parametrization: str = setting("standard", "that of the paper", choices=("standard",))

    vision: VisionConfig = dataclasses.field(default_factory=VisionConfig)
    projection: int = setting(
        512, "width of the space in which texts and images are compared", low=1
    )
    initial_scale: float = setting(
        1 / 0.07,
        "factor of the cosines at the start, which is learned; at most 100",
        above=0.0,
        high=100.0,
    )

    @property
    def tokens_per_row(self) -> int:
        """A pair counts for one token in schedules."""
        return 1

    def resolve(self) -> None:
        """Resolves both encoders.

        Raises:
          ValueError: as `ModelConfig.resolve` and `VisionConfig.resolve`.
        """
        super().resolve()
        if not self.tied_embeddings:
            raise ValueError(
                "config.model.tied_embeddings: got False, expected True: there are no logits"
            )
        resolve_vision(self)


# Fields that say how a model computes: one decision for both encoders.
_OF_BOTH = ("dtype", "remat", "attention_impl")


def resolve_vision(model: Any) -> None:
    """Resolves the image encoder `model.vision`; errors name its fields there.

    How it computes (its dtype, and what it computes again) is what `model` says.

    Raises:
      ValueError: as `VisionConfig.resolve`, or it says that it computes in another way.
    """
    model.vision = dataclasses.replace(model.vision)  # which other configurations may share
    vision, default = model.vision, VisionConfig()
    for name in _OF_BOTH:
        said, decided = getattr(vision, name), getattr(model, name)
        if said not in (decided, getattr(default, name)):
            raise ValueError(
                f"config.model.vision.{name}: got {said}, expected {decided}, as model.{name} says "
                "for both encoders"
            )
        setattr(vision, name, decided)
    try:
        vision.resolve()
    except ValueError as error:
        raise ValueError(str(error).replace("config.model.", "config.model.vision.")) from None


@dataclasses.dataclass
class ImageClassifierConfig(VisionConfig):
    """An encoder of images with a linear head on what stands for the whole image."""

    num_classes: int = setting(1000, "classes that the head tells apart", low=2)

    @property
    def tokens_per_row(self) -> int:
        """An image counts for one token in schedules."""
        return 1


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far images are changed; 0 everywhere: not at all.

    Attributes:
      scale: s; sizes are multiplied by 1 - s to 1 + s, in both directions alike.
      shift: images are moved by up to so much of their size, in each direction.
      mirror: whether each other image is mirrored, left to right.
      colour: a; each channel is multiplied by 1 - a to 1 + a, and as much is added to it.
    """

    scale: float = 0.0
    shift: float = 0.0
    mirror: bool = False
    colour: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self != UNCHANGED


UNCHANGED = Augmentation()
