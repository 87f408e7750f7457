"""Costs of encoders of images and of CLIP, by formula: parameters and FLOPs.

As `gptjax.models.costs` counts a decoder's.

    vit_training_flops_per_image(config) * images_per_second / peak   # model FLOPs utilisation
"""

import dataclasses

from gptjax.models.costs import (
    executed_training_flops_per_token,
    parameter_count,
    training_flops_per_token,
)
from gptjax.vision_config import ClipConfig, VisionConfig


def vit_parameter_count(config: VisionConfig) -> int:
    """Parameters of a `ViT` of a resolved configuration."""
    width = config.d_model
    stack = parameter_count(dataclasses.replace(config, tied_embeddings=True))
    return (
        stack
        - config.vocab_size * width  # it has no table of tokens
        + (_patch_inputs(config) + config.patch_bias) * width
        + (config.pooling == "class") * width
        + config.entry_norm * 2 * width
        + config.pooler * (width + 1) * width
    )


def vit_training_flops_per_image(config: VisionConfig) -> float:
    """FLOPs of training on one image, as if every layer were dense and nothing skipped."""
    a_position = training_flops_per_token(config, scalar_head=True)
    return config.num_positions * a_position + _outside_of_layers(config)


def vit_executed_training_flops_per_image(config: VisionConfig) -> float:
    """The same, with only the pairs of positions that blockwise attention computes."""
    a_position = executed_training_flops_per_token(config, scalar_head=True, causal=False)
    return config.num_positions * a_position + _outside_of_layers(config)


def _patch_inputs(config: VisionConfig) -> int:
    return config.patch_size**2 * config.num_channels


def _outside_of_layers(config: VisionConfig) -> float:
    """FLOPs of the patches and the pooler, less those of a scalar head that was counted."""
    width = config.d_model
    multiplied = config.grid**2 * _patch_inputs(config) + config.pooler * width
    return 6.0 * width * (multiplied - config.num_positions)


def clip_parameter_count(config: ClipConfig) -> int:
    """Parameters of a `CLIP` of a resolved configuration, with the true vocabulary."""
    widths = config.d_model + config.vision.d_model
    both = parameter_count(config) + vit_parameter_count(config.vision)
    return both + widths * config.projection + 1  # the scale


def clip_training_flops_per_pair(config: ClipConfig) -> tuple[float, float]:
    """FLOPs of training on an image and its text: as if attention were dense, and as executed.

    Texts are as long as the context. The products of all images of a batch with all texts are left
    out.
    """
    length = config.context_length
    projections = (config.d_model + config.vision.d_model) * config.projection
    outside = 6.0 * (projections - length * config.d_model)  # a scalar head is counted a token
    dense = training_flops_per_token(config, scalar_head=True)
    executed = executed_training_flops_per_token(config, scalar_head=True)
    return (
        length * dense + outside + vit_training_flops_per_image(config.vision),
        length * executed + outside + vit_executed_training_flops_per_image(config.vision),
    )
