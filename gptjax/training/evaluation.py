"""Evaluators: named functions from parameters to metrics.

evaluate = language_model_evaluator(loss, batches, utf8_bytes_per_target, mesh)
evaluate(params)["bits_per_byte"]
loss_evaluator(ranking(model), batches, mesh)(params)["accuracy"]
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from gptjax.training.losses import Loss
from gptjax.training.partitioning import put_batch

Evaluator = Callable[[Any], dict[str, Any]]


def loss_evaluator(
    loss: Loss, batches: Callable[[], Iterable[Mapping[str, np.ndarray]]], mesh: Mesh
) -> Evaluator:
    """An evaluator by any loss, with dropout off.

    Args:
      loss: as the loop's; called with `rng=None`.
      batches: makes the batches anew for each evaluation.
      mesh: where batches go.

    Returns:
      A function from parameters to `loss`, and the means of the loss function's own metrics. It
      raises ValueError where nothing counts.
    """
    sums = _evaluation(loss)

    def evaluate(params: Any) -> dict[str, float]:
        totals, weight, metrics = 0.0, 0.0, {}
        for batch in batches():
            loss_sum, batch_weight, metric_sums = jax.device_get(
                sums(params, put_batch(batch, mesh))
            )
            totals += float(loss_sum)
            weight += float(batch_weight)
            for name, value in metric_sums.items():
                metrics[name] = metrics.get(name, 0.0) + float(value)
        if not weight:
            raise ValueError("evaluation: got no target that counts, expected one or more")
        return {
            "loss": totals / weight,
            **{name: value / weight for name, value in metrics.items()},
        }

    return evaluate


@functools.lru_cache(maxsize=16)
def _evaluation(loss: Loss) -> Callable[[Any, Mapping[str, jax.Array]], Any]:
    """One compiled function for all the splits that a loss judges."""
    return jax.jit(lambda params, batch: loss(params, batch, None))


def language_model_evaluator(
    loss: Loss,
    batches: Callable[[], Iterable[Mapping[str, np.ndarray]]],
    utf8_bytes_per_target: float | None,
    mesh: Mesh,
    bytes_of: str = "documents",
) -> Evaluator:
    """An evaluator of held-out text, with dropout off.

    Args:
      loss: as the loop's; called with `rng=None`.
      batches: makes the batches anew for each evaluation.
      utf8_bytes_per_target: bytes of the text over targets in it, which makes bits per byte exact
        over the whole split and an estimate over a part of it; None: they are left out.
      mesh: where batches go.
      bytes_of: the text whose bytes are counted, see `TokenizedSplit.bytes_of`.

    Returns:
      A function from parameters to `loss` (nats a target), `perplexity` (its exponential),
      `bits_per_byte` (nats over all targets / (ln 2 x UTF-8 bytes of the text)), `bytes_of` as
      given, and the means of the loss function's own metrics.
    """
    means = loss_evaluator(loss, batches, mesh)

    def evaluate(params: Any) -> dict[str, Any]:
        figures = means(params)
        nats = figures["loss"]
        figures["perplexity"] = math.inf if nats > 700 else math.exp(nats)
        if utf8_bytes_per_target is not None:
            figures["bits_per_byte"] = nats / (math.log(2) * utf8_bytes_per_target)
            figures["bytes_of"] = bytes_of
        return figures

    return evaluate
