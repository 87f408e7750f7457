"""Losses: `(params, batch, rng) -> (loss_sum, weight, metric_sums)`.

Sums, never means: the loop divides once, over the whole global batch, so that neither sharding
nor accumulation can change what is minimised. `rng` is None in evaluation: dropout is off.

    loss_sum, weight, _ = language_model(GPT(config))(params, batch, rng)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.attention.sight import out_of_sight
from gptjax.config import ModelConfig
from gptjax.models.decoder import Decoder
from gptjax.models.transformer import attention_cycle, looks_ahead

Batch = Mapping[str, jax.Array]
Loss = Callable[[Any, Batch, jax.Array | None], tuple[jax.Array, jax.Array, dict[str, jax.Array]]]


@jax.custom_vjp
def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Minus the log-probability of each target, in nats.

    The gradient is softmax minus one-hot, in one pass over the logits; automatic differentiation
    would scatter into an array of their size.

    Args:
      logits: [..., V] float32.
      targets: [...] int32 in [0, V).

    Returns:
      [...] float32.
    """
    return _cross_entropy_forward(logits, targets)[0]


def _cross_entropy_forward(logits: jax.Array, targets: jax.Array):
    lse = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return lse - picked, (logits, targets, lse)


def _cross_entropy_backward(residuals: Any, gradient: jax.Array):
    logits, targets, lse = residuals
    classes = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    one_hot = (classes == targets[..., None]).astype(logits.dtype)
    return (jnp.exp(logits - lse[..., None]) - one_hot) * gradient[..., None], None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def out_of_sight_of(batch: Batch, *configs: ModelConfig) -> jax.Array | None:
    """Whether each target is hidden from all that the models' earlier positions may see.

    Returns:
      bool [B or 1, T]; None where no attention of the models looks ahead, so that all are.
    """
    if not any(map(looks_ahead, configs)):
        return None
    patterns = tuple(pattern for config in configs for pattern in attention_cycle(config))
    hidden = out_of_sight(patterns, configs[0].context_length + 1)
    positions = batch.get("positions")
    if positions is None:
        positions = jnp.arange(batch["tokens"].shape[1])[None]
    return jnp.asarray(hidden)[positions + 1]


def counted_weights(batch: Batch, *configs: ModelConfig) -> jax.Array:
    """The batch's `loss_weights`, 0 where a target is not `out_of_sight_of` the models."""
    hidden = out_of_sight_of(batch, *configs)
    weights = batch["loss_weights"]
    return weights if hidden is None else jnp.where(hidden, weights, 0.0)


def token_nats(
    model: Decoder, chunk: int | None = None
) -> Callable[[Any, Batch, jax.Array | None], jax.Array]:
    """The cross-entropy of every target, as a function (params, batch, rng) -> [B, T] float32.

    Arguments and batch are those of `language_model`, which has `loss_weights` besides.
    """

    def nats_of(params: Any, hidden: jax.Array, targets: jax.Array) -> jax.Array:
        return cross_entropy(model.apply({"params": params}, hidden, method="logits"), targets)

    def in_chunks(params: Any, hidden: jax.Array, targets: jax.Array) -> jax.Array:
        rows, length = targets.shape

        def chunks_first(x: jax.Array) -> jax.Array:
            # Of positions far apart, so that each device of a mesh divides up its own.
            return jnp.moveaxis(x.reshape(rows, chunk, -1, *x.shape[2:]), 2, 0)

        one = jax.checkpoint(lambda part: nats_of(params, *part))
        nats = jax.lax.map(one, (chunks_first(hidden), chunks_first(targets)))
        return jnp.moveaxis(nats, 0, 2).reshape(rows, length)

    def nats(params: Any, batch: Batch, rng: jax.Array | None) -> jax.Array:
        hidden, _ = model.apply(
            {"params": params},
            batch["tokens"],
            segment_ids=batch.get("segment_ids"),
            positions=batch.get("positions"),
            deterministic=rng is None,
            rngs=None if rng is None else {"dropout": rng},
            method="hidden",
        )
        return (nats_of if chunk is None else in_chunks)(params, hidden, batch["targets"])

    return nats


def language_model(
    model: Decoder, chunk: int | None = None, beside: Sequence[ModelConfig] = ()
) -> Loss:
    """Next-token prediction: the cross-entropy of `batch["targets"]`.

    The batch holds tokens, targets [B, T] int32 and loss_weights [B, T] float32; segment_ids and
    positions [B, T] int32 where documents are hidden from each other. A target that an earlier
    position may see, under attention that looks ahead, counts nothing.

    Args:
      model: the decoder.
      chunk: positions, a divisor of T, whose logits exist at a time, [B, chunk, V] instead of
        [B, T, V]; they are computed again for the gradient. None: all at once.
      beside: models that it is compared with; targets that one of them may see count nothing.
    """
    nats = token_nats(model, chunk)

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        weights = counted_weights(batch, model.config, *beside)
        return jnp.sum(nats(params, batch, rng) * weights), jnp.sum(weights), {}

    return loss
