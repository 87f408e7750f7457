"""The smoothed loss against its definition."""

import jax
import numpy as np
import scipy.special

from gptjax.training.label_smoothing import smoothed
from gptjax.training.losses import cross_entropy

LOGITS = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
TARGETS = np.array([0, 3, 6, 3], np.int32)


def test_it_is_the_divergence_from_the_smoothed_labels():
    """Of all V - 1 others alike, as the authors' code; its least value is 0."""
    labels = np.full((4, 7), 0.3 / 6)
    labels[np.arange(4), TARGETS] = 0.7
    log_probs = scipy.special.log_softmax(LOGITS.astype(np.float64), axis=1)
    expected = (labels * (np.log(labels) - log_probs)).sum(1)
    loss = jax.jit(lambda logits: smoothed(cross_entropy(logits, TARGETS), logits, 0.3))
    np.testing.assert_allclose(loss(LOGITS), expected, atol=1e-6)
    least = np.log(labels).astype(np.float32)
    np.testing.assert_allclose(loss(least), 0.0, atol=1e-6)


def test_none_is_the_cross_entropy():
    nats = cross_entropy(LOGITS, TARGETS)
    assert smoothed(nats, LOGITS, 0.0) is nats
