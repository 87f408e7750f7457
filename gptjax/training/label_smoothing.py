"""Translation's loss: cross-entropy with smoothed labels.

Attention Is All You Need (arXiv 1706.03762, section 5.4), as its authors' code (tensor2tensor)
computes it: the probability `smoothing` is spread over the V - 1 other tokens, and the entropy of
that distribution is subtracted, so that a perfect model has a loss of 0. Two other forms are in
use, whose losses are not comparable: over all V tokens (arXiv 1512.00567), and over V - 2, without
padding. Therefore nats without smoothing stand beside.

    loss_sum, weight, sums = translation(model, smoothing=0.1)(params, batch, rng)
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.training.losses import Batch, Loss, cross_entropy, dropout_from


def smoothed(nats: jax.Array, logits: jax.Array, smoothing: float) -> jax.Array:
    """Smoothed cross-entropy, in nats.

    Args:
      nats: float32 [...], minus the log-probability of each target.
      logits: float32 [..., V], without rows that pad the vocabulary.
      smoothing: probability of all other tokens together, from 0 to below 1.

    Returns:
      float32 [...].
    """
    if not smoothing:
        return nats
    size = logits.shape[-1]
    other = smoothing / (size - 1)
    entropy = -(1 - smoothing) * math.log(1 - smoothing) - smoothing * math.log(other)
    of_all = size * jax.nn.logsumexp(logits, axis=-1) - jnp.sum(logits, axis=-1)
    return (1 - smoothing - other) * nats + other * of_all - entropy


def translation(model: Any, smoothing: float) -> Loss:
    """The smoothed loss of targets under their sources.

    The batch holds sources [B, S], tokens and targets [B, T] int32, lengths [B] int32 of the
    sources, loss_weights [B, T] float32, and words [B] int32, of the targets as texts. The sums
    beside are `nats`, without smoothing, and `words`.

    Args:
      model: an `EncoderDecoder`.
      smoothing: see `smoothed`.
    """

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        encoder, decoder = (None, None) if rng is None else jax.random.split(rng)
        variables = {"params": params}

        context = model.apply(
            variables, batch["sources"], batch["lengths"], method="encode", **dropout_from(encoder)
        )
        hidden, _ = model.apply(
            variables, batch["tokens"], context=context, method="hidden", **dropout_from(decoder)
        )
        logits = model.apply(variables, hidden, method="logits")
        weights = batch["loss_weights"]
        nats = cross_entropy(logits, batch["targets"])
        each = smoothed(nats, logits[..., : model.config.vocab_size], smoothing)
        sums = {
            "nats": jnp.sum(nats * weights),
            "words": jnp.sum(batch["words"]).astype(jnp.float32),
        }
        return jnp.sum(each * weights), jnp.sum(weights), sums

    return loss
