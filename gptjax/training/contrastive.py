"""CLIP's loss: each text is to find its image in the batch, and each image its text.

Radford et al. 2021 (arXiv 2103.00020, figure 3). All rows of a batch are compared with each other,
over all devices, so that a batch is not made of microbatches.

    loss_sum, weight, sums = contrastive(CLIP(config))(params, batch, rng)
"""

from typing import Any

import jax
import jax.numpy as jnp

from gptjax.models.vision.augmentation import UNCHANGED, Augmentation, augmented
from gptjax.models.vision.clip import CLIP
from gptjax.models.vision.patches import pixel_values
from gptjax.training.losses import Batch, Loss, cross_entropy, dropout_from

_APART = -1e9  # logit of what is padding


def pair_nats(
    images: jax.Array, texts: jax.Array, scale: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Symmetric cross-entropy of pairs.

    Args:
      images: [B, P] float32, of length 1.
      texts: [B, P] float32, of length 1; row i belongs to row i of the images.
      scale: factor of the cosines.
      weights: [B] float32, 1 of pairs and 0 of padding, which nobody is compared with.

    Returns:
      The nats of each pair [B], half of them those of finding the text of its image and half those
      of finding the image of its text; and whether each image has found its text, bool [B].
    """
    logits = scale * jnp.einsum("ip,tp->it", images, texts, preferred_element_type=jnp.float32)
    real = weights > 0
    own = jnp.arange(len(logits), dtype=jnp.int32)
    of_images = jnp.where(real[None], logits, _APART)
    of_texts = jnp.where(real[None], logits.T, _APART)
    nats = (cross_entropy(of_images, own) + cross_entropy(of_texts, own)) / 2
    return jnp.where(real, nats, 0.0), jnp.argmax(of_images, axis=-1) == own


def contrastive(model: CLIP, augmentation: Augmentation = UNCHANGED) -> Loss:
    """The loss of pairs of an image and a text, a mean over pairs.

    The batch holds tokens [B, T] int32, lengths [B] int32, images [B, H, W, C] uint8 and
    loss_weights [B] float32. In training images are changed at random as `augmentation` says.
    The sums have the accuracy of images that choose among the texts of the batch, and the scale.
    """

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        pixels = pixel_values(model.config.vision, batch["images"])
        if rng is not None:
            pixels = augmented(pixels, augmentation, jax.random.fold_in(rng, 1))
        applied: Any = model.apply(
            {"params": params}, batch["tokens"], batch["lengths"], pixels, **dropout_from(rng)
        )
        images, texts, scale = applied
        weights = batch["loss_weights"]
        nats, found = pair_nats(images, texts, scale, weights)
        weight = jnp.sum(weights)
        sums = {"accuracy": jnp.sum(jnp.where(found, weights, 0.0)), "scale": scale * weight}
        return jnp.sum(nats), weight, sums

    return loss
