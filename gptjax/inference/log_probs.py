"""Scores, and the device's side of them: log-probabilities of targets, and whether they are best.

Logits are made a part at a time, and for the tokens that are scored only.

    log_probs, best = log_probs_whole(model, params, inputs, lengths, targets, at)
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.models.decoder import Decoder
from gptjax.models.transformer import Cache, padding_segments

LOGITS = 1 << 24  # that are held at once


@dataclasses.dataclass(frozen=True)
class Score:
    """Log-probabilities of a continuation.

    Attributes:
      log_probs: float32 [n], of each of its tokens given all before it, in nats.
      greedy: whether greedy decoding would have written it: each token is the most probable one.
    """

    log_probs: np.ndarray
    greedy: bool

    @property
    def total(self) -> float:
        """The continuation's log-probability, in nats."""
        return float(self.log_probs.sum(dtype=np.float64))

    @property
    def mean(self) -> float:
        """Mean log-probability of a token, in nats."""
        return self.total / self.log_probs.size


@dataclasses.dataclass(frozen=True)
class TextLoss:
    """The negative log-probability of a text.

    Attributes:
      nats: of all its tokens but the first.
      tokens: how many those are, or are counted of them.
    """

    nats: float
    tokens: int

    @property
    def per_token(self) -> float:
        """Nats a token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Perplexity: the exponential of the nats a token, infinite past what a float holds."""
        return math.inf if self.per_token > 700 else math.exp(self.per_token)


def log_probs_whole(
    model: Decoder,
    params: Any,
    inputs: jax.Array,
    lengths: jax.Array,
    targets: jax.Array,
    at: jax.Array,
    images: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of targets in inputs [B, T], the first `lengths` [B] of which are texts.

    `images` [B, N, H, W, C] are those of the texts; None: they have none. Other arguments and the
    result are those of `_log_probs`.
    """
    segments = padding_segments(model.config, lengths, inputs.shape[1])
    variables, shown = {"params": params}, {} if images is None else {"images": images}
    made: Any = model.apply(variables, inputs, segment_ids=segments, method="hidden", **shown)
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


def alternatives_whole(
    model: Decoder, params: Any, inputs: jax.Array, lengths: jax.Array, *, count: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What could stand at each place but the first of inputs [B, T]; `count` is static.

    Returns:
      Float32 log-probabilities [B, T - 1] of the tokens that stand there, and the `count` most
      probable ones: int32 ids and float32 log-probabilities [B, T - 1, count].
    """
    segments = padding_segments(model.config, lengths, inputs.shape[1])
    variables = {"params": params}
    made: Any = model.apply(variables, inputs, segment_ids=segments, method="hidden")
    targets = inputs[:, 1:]

    def places(logits: jax.Array, target: jax.Array) -> tuple[jax.Array, ...]:
        log_probs = jax.nn.log_softmax(logits)
        best, tokens = jax.lax.top_k(log_probs, min(count, logits.shape[-1]))
        return log_probs[jnp.arange(len(target)), target], tokens.astype(jnp.int32), best

    return _in_parts(model, params, made[0][:, :-1], targets, places)


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
    read = jnp.take_along_axis(hidden, at[:, :, None], axis=1)

    def scored(logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        log_probs = logits[jnp.arange(len(target)), target] - jax.nn.logsumexp(logits, axis=-1)
        return log_probs, jnp.argmax(logits, axis=-1) == target

    return _in_parts(model, params, read, targets, scored)


def _in_parts(
    model: Decoder, params: Any, read: jax.Array, targets: jax.Array, function: Any
) -> Any:
    """`function` of logits [P, V] and targets [P], a part at a time, over hidden states [B, n, E].

    Its results [P, ...] are put together as [B, n, ...].
    """
    vocab, count, shape = model.config.vocab_size, targets.size, targets.shape
    part = min(count, max(1, LOGITS // vocab))
    pad = -count % part

    def one(states: tuple[jax.Array, jax.Array]) -> Any:
        logits: Any = model.apply({"params": params}, states[0][None], method="logits")
        return function(logits[0, :, :vocab], states[1])

    parts = (
        jnp.pad(read.reshape(count, -1), ((0, pad), (0, 0))).reshape(-1, part, read.shape[-1]),
        jnp.pad(targets.reshape(-1), (0, pad)).reshape(-1, part),
    )

    def whole(x: jax.Array) -> jax.Array:
        return x.reshape(-1, *x.shape[2:])[:count].reshape(*shape, *x.shape[2:])

    return jax.tree.map(whole, jax.lax.map(one, parts))
