"""The configuration of a decoder that reads images among its text.

config = MultimodalConfig(vision=VisionConfig(image_size=28), image_tokens=4).resolved()
"""

import dataclasses
from typing import Any

from gptjax.model_config import ModelConfig
from gptjax.settings import setting
from gptjax.vision_config import VisionConfig

_MARKS = 3  # the last ids of the vocabulary: what begins an image, what ends it, a place of it


@dataclasses.dataclass
class MultimodalConfig(ModelConfig):
    """A decoder with an encoder of images; the last id of its vocabulary is a place of an image."""

    trunk: str = setting("transformer", "layers of attention", choices=("transformer",))
    parametrization: str = setting("standard", "that of the paper", choices=("standard",))
    connector: str = setting(
        "resampler",
        "what makes an image's places in the text of the encoder's output: learned queries that "
        "attend to it (resampler), or a linear map of each patch (projection)",
        choices=("resampler", "projection"),
    )
    image_tokens: int | None = setting(
        None,
        "places that an image takes in the text; none: 64 of a resampler, as many as patches of a "
        "projection",
        low=1,
    )
    resampler_layers: int = setting(
        2, "layers of the resampler, which are as wide as those of the encoder", low=1
    )
    image_attention: str = setting(
        "causal",
        "what a place of an image sees: what comes before it (causal), all of the same image "
        "besides (whole), or all that stands up to the last image of its document (prefix), where "
        "images must stand before all text; or images take no places, and cross attention in each "
        "layer lets text see the last image before it (cross)",
        choices=("causal", "whole", "prefix", "cross"),
    )
    cross_images: int = setting(
        8, "images of a text at most that decoding has room for, with image_attention=cross", low=1
    )
    vision: VisionConfig = dataclasses.field(default_factory=VisionConfig)

    @property
    def soft_token(self) -> int:
        """The id of a place of an image."""
        return self.vocab_size - 1

    @property
    def image_places(self) -> int:
        """What the connector makes of an image, of a resolved configuration."""
        assert self.image_tokens is not None, "resolve the config first"
        return self.image_tokens

    @property
    def has_wholes(self) -> bool:
        """Whether the places of an image see each other."""
        return self.image_attention in ("whole", "prefix")

    @property
    def crosses(self) -> bool:
        """Whether text reads images by cross attention, outside the text."""
        return self.image_attention == "cross"

    @property
    def image_mark(self) -> int:
        """The id that stands where an image begins."""
        return self.vocab_size - _MARKS

    @property
    def text_places(self) -> int:
        """Places that an image takes in the text; its connector makes `image_places` of it."""
        return 0 if self.crosses else self.image_places

    def has_room_for(self, count: int) -> bool:
        return not self.crosses or count <= self.cross_images

    def check_images(self, tokens: Any, count: int) -> None:
        """Refuses images that tokens [n] have no places for, or that they have other places for.

        Raises:
          ValueError: another number of images than of places, or with image_attention=prefix text
            before an image: it would see what follows it, which no text of training does.
        """
        if self.crosses:
            marks = int((tokens == self.image_mark).sum())
            if marks != count or not self.has_room_for(count):
                raise ValueError(
                    f"images: got {count}, expected as many as the prompt has marks for, {marks}, "
                    f"and at most model.cross_images = {self.cross_images}"
                )
            return
        places = int((tokens == self.soft_token).sum())
        if places != count * self.image_places:
            raise ValueError(
                f"images: got {count}, expected as many as the prompt has places for, "
                f"{places / self.image_places:g}"
            )
        if self.image_attention == "prefix" and count:
            last = int((tokens == self.soft_token).nonzero()[0][-1])
            text = int((tokens[1:last] < self.image_mark).sum())
            if text:
                raise ValueError(
                    f"images: got {text} tokens of text before the last one, expected none with "
                    "model.image_attention=prefix: images stand first"
                )

    def resolve(self) -> None:
        """Resolves the decoder and the encoder, and fills in an image's places.

        Raises:
          ValueError: fields that contradict each other, or an image longer than the context.
        """
        super().resolve()
        try:
            self.vision = self.vision.resolved()
        except ValueError as error:
            said = str(error)
            begin = "config.model."
            raise ValueError(said.replace(begin, f"{begin}vision.", 1)) from None
        patches = self.vision.grid**2
        if self.connector == "projection":
            if self.image_tokens not in (None, patches):
                raise ValueError(
                    f"config.model.image_tokens: got {self.image_tokens} with connector=projection,"
                    f" expected none, or {patches}, the patches of an image"
                )
            self.image_tokens = patches
        self.image_tokens = self.image_tokens or 64
        if self.text_places + 2 > self.context_length:
            raise ValueError(
                f"config.model.image_tokens: got {self.image_tokens}, expected at most "
                f"{self.context_length - 2}, context_length less the marks around an image"
            )

    def resampler(self) -> ModelConfig:
        """The stack of the resampler, of a resolved configuration."""
        vision = self.vision
        names = ("d_model", "num_heads", "d_ff", "norm", "layer_norm_epsilon", "activation")
        shared: dict[str, Any] = {name: getattr(vision, name) for name in names}
        return ModelConfig(
            **shared,
            vocab_size=2,
            context_length=self.image_places,
            num_layers=self.resampler_layers,
            positions="none",
            init_std=vision.init_std,
            residual_dropout=vision.residual_dropout,
            attention_impl=self.attention_impl,
            dtype=self.dtype,
        ).resolved()
