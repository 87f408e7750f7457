"""Costs of a decoder that reads images, by formula: parameters and FLOPs.

As `gptjax.models.costs` counts those of a decoder of text alone.

    image_gpt_parameter_count(config)
"""

from gptjax.models.costs import (
    cross_flops,
    cross_parameter_count,
    executed_training_flops_per_token,
    matmul_parameters,
    parameter_count,
    training_flops_per_token,
)
from gptjax.models.vision.costs import (
    vit_executed_training_flops_per_image,
    vit_parameter_count,
    vit_training_flops_per_image,
)
from gptjax.multimodal_config import MultimodalConfig


def image_gpt_parameter_count(config: MultimodalConfig) -> int:
    """Parameters of an `ImageGPT` of a resolved configuration, with the true vocabulary."""
    whole = parameter_count(config) + vit_parameter_count(config.vision) + _connector(config)
    return whole + (cross_parameter_count(config) if config.crosses else 0)


def _connector(config: MultimodalConfig) -> int:
    width, out = config.vision.d_model, config.d_model
    projection = (width + 1) * out
    if config.connector == "projection":
        return projection
    stack = config.resampler()
    own = parameter_count(stack) - stack.vocab_size * width
    crossing = stack.num_layers * (4 * (width + 1) * width + 2 * width)
    return own + crossing + config.image_places * width + projection


def image_gpt_flops_per_token(config: MultimodalConfig, images: int) -> tuple[float, float]:
    """Training FLOPs on one token: as if attention were dense, and as it is executed.

    Args:
      config: resolved.
      images: that are encoded for a row of `context_length` tokens.
    """
    vision, length = config.vision, config.context_length
    places = _connector_flops(config)
    dense = vit_training_flops_per_image(vision) + places
    executed = vit_executed_training_flops_per_image(vision) + places
    crossing = 0.0
    if config.crosses:  # each token sees the places of one image
        keys = images * config.image_places
        crossing = cross_flops(config, length, keys, length * config.image_places) / length
    return (
        training_flops_per_token(config) + crossing + images * dense / length,
        executed_training_flops_per_token(config) + crossing + images * executed / length,
    )


def _connector_flops(config: MultimodalConfig) -> float:
    """Training FLOPs of the connector on one image."""
    width, out, places = config.vision.d_model, config.d_model, config.image_places
    projection = places * width * out
    if config.connector == "projection":
        return 6.0 * projection
    stack, patches = config.resampler(), config.vision.num_positions
    in_layers = matmul_parameters(stack, scalar_head=True) - width
    pairs = 2 * width * (places * places + places * patches)
    crossing = 2 * width * width * (places + patches)
    return 6.0 * (places * in_layers + stack.num_layers * (pairs + crossing) + projection)
