"""The device's side of scoring: log-probabilities of targets, and whether they are the best tokens.

Logits are made a part at a time, and for the tokens that are scored only.

    log_probs, best = log_probs_whole(model, params, inputs, lengths, targets, at)
"""

from typing import Any

import jax
import jax.numpy as jnp

from gptjax.models.decoder import Decoder
from gptjax.models.transformer import Cache, padding_segments

LOGITS = 1 << 24  # that are held at once


def log_probs_whole(
    model: Decoder,
    params: Any,
    inputs: jax.Array,
    lengths: jax.Array,
    targets: jax.Array,
    at: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of targets in inputs [B, T], the first `lengths` [B] of which are texts.

    Other arguments and the result are those of `_log_probs`.
    """
    segments = padding_segments(model.config, lengths, inputs.shape[1])
    variables = {"params": params}
    made: Any = model.apply(variables, inputs, segment_ids=segments, method="hidden")
    return _log_probs(model, params, made[0], targets, at)


def log_probs_after(
    model: Decoder,
    params: Any,
    cache: Cache,
    inputs: jax.Array,
    positions: jax.Array,
    targets: jax.Array,
    at: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of targets in inputs [B * n, T], n after each of B texts in the cache.

    Other arguments and the result are those of `_log_probs`.
    """
    beside = inputs.shape[0] // jax.tree.leaves(cache)[0].shape[0]
    cache = jax.tree.map(lambda x: jnp.repeat(x, beside, axis=0), cache)
    variables = {"params": params}
    made: Any = model.apply(variables, inputs, positions=positions, cache=cache, method="hidden")
    return _log_probs(model, params, made[0], targets, at)


def _log_probs(
    model: Decoder, params: Any, hidden: jax.Array, targets: jax.Array, at: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Float32 log-probabilities [B, n] of targets, and whether they are the most probable tokens.

    Args:
      model: the decoder.
      params: its parameters.
      hidden: its hidden states [B, T, E].
      targets: int32 [B, n].
      at: int32 [B, n], at which hidden states they are predicted.
    """
    vocab, count = model.config.vocab_size, targets.size
    read = jnp.take_along_axis(hidden, at[:, :, None], axis=1).reshape(count, -1)
    part = min(count, max(1, LOGITS // vocab))
    pad = -count % part

    def one(states: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        read, target = states
        logits: Any = model.apply({"params": params}, read[None], method="logits")
        logits = logits[0, :, :vocab]
        log_probs = logits[jnp.arange(part), target] - jax.nn.logsumexp(logits, axis=-1)
        return log_probs, jnp.argmax(logits, axis=-1) == target

    parts = (
        jnp.pad(read, ((0, pad), (0, 0))).reshape(-1, part, read.shape[-1]),
        jnp.pad(targets.reshape(-1), (0, pad)).reshape(-1, part),
    )
    log_probs, best = jax.lax.map(one, parts)
    shape = targets.shape
    return log_probs.reshape(-1)[:count].reshape(shape), best.reshape(-1)[:count].reshape(shape)
