"""Losses of encoders of images: of the class of an image, and CLIP's of pairs with texts.

CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3): each text is to find its image in the batch,
and each image its text. All rows of a batch are compared with each other, over all devices, so that
a batch is not made of microbatches.

    loss_sum, weight, sums = contrastive(CLIP(config))(params, batch, rng)
    loss_sum, weight, sums = classes_of_images(ImageClassifier(config))(params, batch, rng)
"""

from typing import Any

import jax
import jax.numpy as jnp

from gptjax.models.vision.augmentation import augmented
from gptjax.models.vision.classifier import ImageClassifier
from gptjax.models.vision.clip import CLIP
from gptjax.models.vision.patches import pixel_values
from gptjax.training.losses import Batch, Loss, cross_entropy, dropout_from
from gptjax.vision_config import UNCHANGED, Augmentation, VisionConfig

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
        pixels = _pixels(model.config.vision, batch, augmentation, rng)
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


def classes_of_images(model: ImageClassifier, augmentation: Augmentation = UNCHANGED) -> Loss:
    """The cross-entropy of the class of each image, a mean over images.

    The batch holds images [B, H, W, C] uint8, classes [B] int32 and loss_weights [B] float32. In
    training images are changed at random as `augmentation` says. The sums have the accuracy.
    """

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        pixels = _pixels(model.config, batch, augmentation, rng)
        logits: Any = model.apply({"params": params}, pixels, **dropout_from(rng))
        weights, classes = batch["loss_weights"], batch["classes"]
        right = jnp.argmax(logits, axis=-1) == classes
        sums = {"accuracy": jnp.sum(jnp.where(right, weights, 0.0))}
        return jnp.sum(cross_entropy(logits, classes) * weights), jnp.sum(weights), sums

    return loss


def _pixels(
    config: VisionConfig, batch: Batch, augmentation: Augmentation, rng: jax.Array | None
) -> jax.Array:
    """The images of a batch as an encoder reads them, changed at random in training."""
    pixels = pixel_values(config, batch["images"])
    if rng is None or not augmentation.changes:
        return pixels
    return augmented(pixels, augmentation, jax.random.fold_in(rng, 1))
