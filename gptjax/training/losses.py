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
from gptjax.models.bert import Bert
from gptjax.models.decoder import Decoder
from gptjax.models.transformer import attention_cycle, looks_ahead

Batch = Mapping[str, jax.Array]
Loss = Callable[[Any, Batch, jax.Array | None], tuple[jax.Array, jax.Array, dict[str, jax.Array]]]


def dropout_from(rng: jax.Array | None) -> dict[str, Any]:
    """Options of a model's `apply`: dropout drawn from `rng`; None: no dropout."""
    return {
        "deterministic": rng is None,
        "rngs": None if rng is None else {"dropout": rng},
    }


@jax.custom_vjp
def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Minus the log-probability of each target, in nats.

    The gradient is softmax minus one-hot, in one pass over the exponentials that the forward pass
    has made; automatic differentiation would scatter into an array of their size.

    Args:
      logits: [..., V] float32.
      targets: [...] int32 in [0, V).

    Returns:
      [...] float32.
    """
    return _cross_entropy_forward(logits, targets)[0]


def _cross_entropy_forward(logits: jax.Array, targets: jax.Array):
    most = jnp.max(logits, axis=-1, keepdims=True)
    exponentials = jnp.exp(logits - most)
    total = jnp.sum(exponentials, axis=-1)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)
    nats = jnp.log(total) + most[..., 0] - picked[..., 0]
    return nats, (exponentials, total, targets)


def _cross_entropy_backward(residuals: Any, gradient: jax.Array):
    exponentials, total, targets = residuals
    classes = jax.lax.broadcasted_iota(targets.dtype, exponentials.shape, exponentials.ndim - 1)
    of_target = jnp.where(classes == targets[..., None], gradient[..., None], 0.0)
    return exponentials * (gradient / total)[..., None] - of_target, None


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

    Arguments and batch are those of `language_model`, which has `loss_weights` besides. The batch
    of a model that reads images has images [B, N, H, W, C] uint8, too.
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
            **({"images": batch["images"]} if "images" in batch else {}),
            **dropout_from(rng),
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


def masked_language_model(model: Bert) -> Loss:
    """BERT's loss: the masked tokens' cross-entropy, and that of whether the second part follows.

    The batch holds tokens, token_types, segment_ids [B, T] int32, masked_positions, targets [B, P]
    int32 and loss_weights [B, P] float32 (0 where a row has fewer than P masked tokens); for the
    next-sentence head is_random [B] int32, 1 where the second part is from another document.

    The weight is the number of masked tokens. Differs from the paper: of the next-sentence loss,
    which the paper averages over rows, a row counts as often as it has masked tokens, so that a
    batch has one denominator. Rows of a full length have the same number.

    Source: google-research/bert, run_pretraining.py, model_fn_builder.
    """

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        def apply(*inputs: jax.Array, **options: Any) -> Any:
            return model.apply({"params": params}, *inputs, **options)

        hidden = apply(
            batch["tokens"],
            token_types=batch["token_types"],
            segment_ids=batch["segment_ids"],
            **dropout_from(rng),
            method="hidden",
        )
        masked = jnp.take_along_axis(hidden, batch["masked_positions"][..., None], axis=1)
        logits = apply(masked, method="masked_logits")
        targets, weights = batch["targets"], batch["loss_weights"]
        total = jnp.sum(cross_entropy(logits, targets) * weights)
        right = jnp.argmax(logits, -1) == targets
        sums = {
            "masked_lm_loss": total,
            "masked_lm_accuracy": jnp.sum(jnp.where(right, weights, 0.0)),
        }
        if "is_random" in batch:
            logits = apply(hidden, method="next_sentence_logits")
            of_row = jnp.sum(weights, axis=1)
            nats = jnp.sum(cross_entropy(logits, batch["is_random"]) * of_row)
            right = jnp.argmax(logits, -1) == batch["is_random"]
            sums |= {
                "next_sentence_loss": nats,
                "next_sentence_accuracy": jnp.sum(jnp.where(right, of_row, 0.0)),
            }
            total += nats
        return total, jnp.sum(weights), sums

    return loss
