"""Advantages against loops in float64 over each answer's own tokens."""

import jax
import numpy as np
import pytest

from gptjax.alignment import advantages as module

estimate = jax.jit(module.estimate)
explained_variance = jax.jit(module.explained_variance)
masked_mean = jax.jit(module.masked_mean)
whitened = jax.jit(module.whitened, static_argnames="centre")


def random(seed=0, rows=6, size=9):
    rng = np.random.default_rng(seed)
    rewards, values = rng.normal(size=(2, rows, size)).astype(np.float32)
    mask = rng.random((rows, size)) < 0.6
    mask[0], mask[1] = True, False
    return rewards, values, mask


def oracle(rewards, values, discount, decay):
    """The definition: a sum of discounted residuals for each token of one answer."""
    size = len(rewards)
    after = [*values[1:], 0.0]
    deltas = [rewards[t] + discount * after[t] - values[t] for t in range(size)]
    return [
        sum((discount * decay) ** (k - t) * deltas[k] for k in range(t, size)) for t in range(size)
    ]


@pytest.mark.parametrize(("discount", "decay"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (0.9, 0.0)])
def test_advantages_equal_a_loop_over_each_answer(discount, decay):
    rewards, values, mask = random()
    estimated = estimate(rewards, values, mask, discount=discount, decay=decay)
    advantages, returns = jax.device_get(estimated)
    for b in range(len(mask)):
        own = mask[b]
        want = oracle(rewards[b, own].astype(float), values[b, own].astype(float), discount, decay)
        np.testing.assert_allclose(advantages[b, own], want, atol=1e-5)
        np.testing.assert_allclose(returns[b, own], want + values[b, own], atol=1e-5)
        np.testing.assert_array_equal(advantages[b, ~own], 0.0)
        np.testing.assert_array_equal(returns[b, ~own], 0.0)


def test_without_discount_a_return_is_what_is_still_earned():
    rewards, values, mask = random()
    _, returns = estimate(rewards, values, mask, discount=1.0, decay=1.0)
    ahead = np.cumsum(np.where(mask, rewards, 0)[:, ::-1], axis=1)[:, ::-1]
    np.testing.assert_allclose(returns, np.where(mask, ahead, 0), atol=1e-5)


def test_padding_and_neighbours_change_no_advantage():
    rewards, values, mask = random()
    options = {"discount": 0.9, "decay": 0.8}
    advantages, returns = estimate(rewards, values, mask, **options)
    junk = [np.where(mask, x, np.nan).astype(np.float32) for x in (rewards, values)]
    wide = [np.pad(x, [(0, 0), (2, 3)], constant_values=np.nan) for x in junk]
    for got, want in zip(
        estimate(*wide, np.pad(mask, [(0, 0), (2, 3)]), **options),
        (advantages, returns),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(got)[:, 2:-3], want)
    alone, _ = jax.device_get(estimate(rewards[2:3], values[2:3], mask[2:3], **options))
    np.testing.assert_array_equal(alone[0], np.asarray(advantages)[2])


@pytest.mark.parametrize("centre", [True, False])
def test_whitening_is_over_real_tokens(centre):
    x, _, mask = random()
    x = 3 + 5 * x
    real = x[mask].astype(np.float64)
    want = (real - real.mean()) / np.sqrt(real.var() + 1e-8) + (0 if centre else real.mean())
    junk = np.where(mask, x, np.nan).astype(np.float32)
    white = np.asarray(whitened(junk, mask, centre=centre))
    np.testing.assert_allclose(white[mask], want, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(white[~mask], 0.0)
    assert white[mask].var() == pytest.approx(1.0, rel=1e-5)


def test_nothing_and_equal_values_whiten_to_zero():
    x, _, mask = random()
    np.testing.assert_array_equal(whitened(x, np.zeros_like(mask)), 0.0)
    for value in (2.0, 0.1, 3.3, 17.3, -1e6):  # of few of which a rounded mean is the number
        equal = np.full_like(x, value)
        np.testing.assert_array_equal(whitened(equal, mask), 0.0)
        np.testing.assert_array_equal(
            whitened(equal, mask, centre=False), np.where(mask, equal, 0.0)
        )
        assert explained_variance(x, equal, mask) == 0.0
    assert masked_mean(x, np.zeros_like(mask)) == 0.0


def test_explained_variance_equals_numpys():
    returns, noise, mask = random()
    values = (0.5 * returns + 0.3 * noise).astype(np.float32)
    junk = np.where(mask, values, np.nan).astype(np.float32)
    got = explained_variance(junk, returns, mask)
    real = returns[mask].astype(np.float64)
    want = 1 - (real - values[mask]).var() / real.var()
    assert got == pytest.approx(want, rel=1e-5)
    assert explained_variance(returns, returns, mask) == pytest.approx(1.0)
    assert explained_variance(np.ones_like(returns), returns, mask) == pytest.approx(0.0, abs=1e-6)
    assert explained_variance(values, np.ones_like(returns), mask) == 0.0
