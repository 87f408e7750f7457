"""The losses of fine-tuning on a task: that of the task, and a language model's beside it.

Radford et al. 2018, section 3.2, equation 5: L3 = L2 + lambda L1, with lambda = 0.5. L2 is the
cross-entropy of the class or of the right candidate; of a number it is the squared error. L1 is the
mean over an example's sequences of the mean over a sequence's tokens, all but the first, the tokens
that delimit texts among them.

    parts = task_parts(Classifier(config, 2), lm_weight=0.5)
    loss_sum, weight, _ = mean_loss(parts, lm_weight=0.5)(params, batch, rng)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.models.classifier import SpanReader, TaskModel
from gptjax.training.losses import Batch, Loss, cross_entropy, dropout_from, out_of_sight_of

TABLES = ("token_embedding", "position_embedding")
Parts = tuple[jax.Array, dict[str, jax.Array]]
PartsOf = Callable[[Any, Batch, jax.Array | None], Parts]
SEQUENCES = ("tokens", "lengths", "token_types")  # of a batch; what the model reads


def task_parts(model: TaskModel, lm_weight: float) -> PartsOf:
    """What a batch is judged by, as a function (params, batch, rng) -> (outputs, losses).

    The batch is that of `data.batches.task_inputs.TaskRows`. The outputs are the model's; the
    losses, each [B] float32, are `task_loss`, and `lm_loss` if its weight is not 0. Those of
    padding are finite and mean nothing.
    """

    def parts(params: Any, batch: Batch, rng: jax.Array | None) -> Parts:
        sequences = {name: batch[name] for name in SEQUENCES if name in batch}
        applied: Any = model.apply({"params": params}, **sequences, **dropout_from(rng))
        outputs, hidden = applied
        targets = batch["targets"]
        if jnp.issubdtype(targets.dtype, jnp.integer):
            losses = {"task_loss": cross_entropy(outputs, targets)}
        else:
            losses = {"task_loss": jnp.square(outputs[:, 0] - targets)}
        if lm_weight:
            losses["lm_loss"] = _lm_loss(model, params, batch, hidden)
        return outputs, losses

    return parts


def _lm_loss(model: TaskModel, params: Any, batch: Batch, hidden: jax.Array) -> jax.Array:
    rows, count, length = batch["tokens"].shape
    tokens = batch["tokens"].reshape(-1, length)
    logits: Any = model.apply(
        {"params": params}, hidden.reshape(rows * count, length, -1)[:, :-1], method="logits"
    )
    nats = cross_entropy(logits, tokens[:, 1:])
    real = jnp.arange(1, length)[None] < batch["lengths"].reshape(-1)[:, None]
    unseen = out_of_sight_of({"tokens": tokens[:, 1:]}, model.config)
    if unseen is not None:
        real &= unseen
    per_sequence = _mean(nats, real).reshape(rows, count)
    return _mean(per_sequence, batch["lengths"] > 0)


def _mean(x: jax.Array, real: jax.Array) -> jax.Array:
    """Mean over the last axis of what is real; 0 where nothing is."""
    return jnp.where(real, x, 0.0).sum(-1) / jnp.maximum(real.sum(-1), 1).astype(jnp.float32)


def span_parts(model: SpanReader) -> PartsOf:
    """As `task_parts`, of the batches of `data.batches.span_rows.SpanRows`.

    The outputs are scores [B, T, 2]; `task_loss` is the mean of the cross-entropies of the start
    and of the end (google-research/bert, run_squad.py).
    """

    def parts(params: Any, batch: Batch, rng: jax.Array | None) -> Parts:
        sequences = {name: batch[name] for name in SEQUENCES}
        scores: Any = model.apply({"params": params}, **sequences, **dropout_from(rng))
        start, end = (
            cross_entropy(scores[..., i], batch[name]) for i, name in enumerate(("starts", "ends"))
        )
        return scores, {"task_loss": (start + end) / 2}

    return parts


def with_dropped_tables(loss: Loss, rate: float) -> Loss:
    """`loss` of tables of tokens and positions of which a share `rate` of the numbers is 0.

    One mask a step: what is dropped of a token is so wherever it stands, and in its logits too.
    Source: openai/finetune-transformer-lm, train.py, `we = dropout(we, embd_pdrop, train)`.
    """

    def dropping(params: Any, batch: Batch, rng: jax.Array | None):
        if rng is None:
            return loss(params, batch, rng)
        rng, *keys = jax.random.split(rng, 1 + len(TABLES))
        dropped = {
            name: jnp.where(jax.random.bernoulli(key, rate, params[name].shape), 0.0, params[name])
            for name, key in zip(TABLES, keys, strict=True)
            if name in params
        }
        return loss(params | {name: x / (1 - rate) for name, x in dropped.items()}, batch, rng)

    return dropping


def mean_loss(parts: PartsOf, lm_weight: float = 0.0) -> Loss:
    """The loss as the training loop takes it.

    Its metrics are the means of the parts over examples.

    Args:
      parts: of `task_parts` or `span_parts`.
      lm_weight: as given to `task_parts`.
    """

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        _, losses = parts(params, batch, rng)
        weights = batch["weights"]
        sums = {name: jnp.sum(weights * values) for name, values in losses.items()}
        total = sums["task_loss"]
        if lm_weight:
            total += lm_weight * sums["lm_loss"]
        return total, jnp.sum(weights), sums

    return loss
