"""Terms of the PPO update against loops in float64, one token after another."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.alignment.policy_gradient import (
    approximate_kl,
    entropy,
    policy_loss,
    ratio_extremes,
    token_log_probs,
    value_loss,
    with_pretraining,
)
from gptjax.inference.sampling import Temperature
from gptjax.models.gpt import GPT
from gptjax.training.losses import language_model
from tests.support.params import random_params

heated_log_probs = jax.jit(token_log_probs)


@jax.jit
def entropy_and_gradient(logits, temperature):
    found, pull = jax.vjp(lambda x: entropy(x, temperature), logits)
    return found, pull(jnp.ones_like(found))[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_log_probabilities_and_entropy_are_of_the_heated_distribution(temperature):
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(3, 4, 7))).astype(np.float32)
    tokens = rng.integers(7, size=(3, 4), dtype=np.int32)
    padded = np.concatenate([logits, np.full((3, 4, 2), -np.inf, np.float32)], axis=-1)
    log_probs = jax.device_get(heated_log_probs(padded, tokens, temperature))
    entropies, gradient = jax.device_get(entropy_and_gradient(padded, temperature))
    for at in np.ndindex(3, 4):
        odds = [math.exp(x / temperature) for x in logits[at]]
        chances = [x / sum(odds) for x in odds]
        assert log_probs[at] == pytest.approx(math.log(chances[tokens[at]]), abs=1e-5)
        assert entropies[at] == pytest.approx(-sum(p * math.log(p) for p in chances), abs=1e-5)
    assert np.isfinite(gradient).all() and (gradient[..., :7] != 0).all()


def test_the_temperature_is_the_samplers():
    logits = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)
    heated = Temperature(0.7)(logits, None)
    heated = heated - np.log(np.exp(heated).sum(-1, keepdims=True))
    tokens = np.broadcast_to(np.arange(11, dtype=np.int32), (5, 11))
    each = np.broadcast_to(logits[:, None], (5, 11, 11))
    got = heated_log_probs(each, tokens, 0.7)
    np.testing.assert_allclose(got, heated, atol=1e-6)


@pytest.mark.parametrize("function", [lambda t: entropy(np.zeros((1, 1, 2)), t)])
@pytest.mark.parametrize("temperature", [0, -1.0])
def test_no_temperature_no_probabilities(function, temperature):
    with pytest.raises(ValueError, match="temperature: got"):
        function(temperature)


def test_a_uniform_distribution_has_the_entropy_of_its_size():
    entropies, _ = entropy_and_gradient(np.zeros((1, 1, 32), np.float32), 1.0)
    np.testing.assert_allclose(entropies, math.log(32), rtol=1e-6)


def test_left_padded_texts_have_the_log_probs_of_each_alone(make_model):
    """Learned positions count from the first real token; what stands before it is nothing."""
    config, rng = make_model(positions="learned"), np.random.default_rng(0)
    model, lengths, size = GPT(config), np.array([11, 3, 7, 8]), 11
    texts = [rng.integers(1, 50, length).astype(np.int32) for length in lengths]
    params = random_params(model, np.zeros((1, 1), np.int32))
    positions = np.arange(size)[None] - (size - lengths)[:, None]
    apply, given = jax.jit(model.apply), []
    heated = jax.jit(functools.partial(token_log_probs, temperature=0.7))
    for padding in (0, 7):
        tokens = np.full((len(texts), size), padding, np.int32)
        for row, text in enumerate(texts):
            tokens[row, size - text.size :] = text
        segment_ids = np.where(positions < 0, -1, 0)
        logits = apply({"params": params}, tokens, positions=positions, segment_ids=segment_ids)
        log_probs = np.asarray(heated(np.asarray(logits)[:, :-1], tokens[:, 1:]))
        for row, text in enumerate(texts):
            right_padded = np.pad(text, (0, size - text.size))[None]
            logits = np.asarray(apply({"params": params}, right_padded), np.float64)[0] / 0.7
            alone = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            expected = alone[np.arange(text.size - 1), text[1:]]
            np.testing.assert_allclose(log_probs[row, 1 - text.size :], expected, atol=2e-6)
        given.append(log_probs[positions[:, :-1] >= 0])
    np.testing.assert_array_equal(*given)


def test_estimates_of_kl_average_to_it():
    """Over a distribution in full: the mean of either estimate under P is KL(P || Q)."""
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(9), size=2).astype(np.float32)
    k1, k3 = jax.device_get(jax.jit(approximate_kl)(np.log(p), np.log(q)))
    want = sum(float(a) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert (p * k1).sum() == pytest.approx(want, rel=1e-4)
    assert (p * k3).sum() == pytest.approx(want, rel=1e-4)
    assert (np.asarray(k3) >= 0).all() and (np.asarray(k1) < 0).any()


def random(seed=0, rows=5, size=8):
    rng = np.random.default_rng(seed)
    old = -rng.exponential(size=(rows, size)).astype(np.float32)
    new = old + (0.3 * rng.normal(size=old.shape)).astype(np.float32)
    advantages = rng.normal(size=old.shape).astype(np.float32)
    weights = (rng.random(old.shape) < 0.7).astype(np.float32) * rng.uniform(0.5, 2, size=(rows, 1))
    return new, old, advantages, weights.astype(np.float32)


def summed(loss):
    """The loss first, what else it gives beside it, as `value_and_grad` takes them."""

    def of(*given):
        total, *others = loss(*given)
        return total, others

    return of


extremes = jax.jit(ratio_extremes)


def test_the_policy_loss_and_its_gradient_equal_a_loop():
    new, old, advantages, weights = random()
    loss = functools.partial(policy_loss, clip=0.2)
    with_gradient = jax.jit(jax.value_and_grad(summed(loss), has_aux=True))
    (total, (weight, metrics)), gradient = jax.device_get(
        with_gradient(new, old, advantages, weights)
    )
    want = {"loss": 0.0, "clip_fraction": 0.0, "kl_k1": 0.0, "kl_k3": 0.0}
    for at in np.ndindex(new.shape):
        w, a = float(weights[at]), float(advantages[at])
        if w == 0:
            assert gradient[at] == 0
            continue
        ratio = math.exp(float(new[at]) - float(old[at]))
        kept = min(max(ratio, 0.8), 1.2)
        surrogate = min(ratio * a, kept * a)
        clipped = kept * a < ratio * a
        want["loss"] -= w * surrogate
        want["clip_fraction"] += w * clipped
        want["kl_k1"] -= w * math.log(ratio)
        want["kl_k3"] += w * (ratio - 1 - math.log(ratio))
        assert gradient[at] == pytest.approx(0.0 if clipped else -w * ratio * a, abs=1e-5)
    assert total == pytest.approx(want.pop("loss"), rel=1e-5)
    assert weight == pytest.approx(weights.sum(), rel=1e-6)
    assert metrics == pytest.approx(want, rel=1e-4)
    assert 0 < metrics["clip_fraction"] < weight


def test_at_the_old_policy_the_gradient_is_the_policy_gradient():
    _, old, advantages, weights = random()
    loss = lambda new: policy_loss(new, old, advantages, weights)[0]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(old)
    np.testing.assert_allclose(gradient, -weights * advantages, atol=1e-6)
    assert extremes(old, old, weights) == (1.0, 1.0)


def test_ratio_extremes_are_of_real_tokens():
    new, old, _, weights = random()
    new[weights == 0] = 50.0
    ratios = np.exp(new.astype(float) - old)[weights > 0]
    least, greatest = extremes(new, old, weights)
    assert least == pytest.approx(ratios.min(), rel=1e-5)
    assert greatest == pytest.approx(ratios.max(), rel=1e-5)
    assert extremes(new, old, np.zeros_like(weights)) == (1.0, 1.0)


def test_weights_of_one_over_the_length_average_over_answers():
    new, old, advantages, weights = random()
    mask = weights > 0
    shares = (mask / mask.sum(1, keepdims=True)).astype(np.float32)
    loss = jax.jit(policy_loss)
    total, weight, _ = jax.device_get(loss(new, old, advantages, shares))
    ones = mask.astype(np.float32)
    each = [
        loss(*(np.tile(x[b], (5, 1)) for x in (new, old, advantages)), np.tile(ones[b], (5, 1)))
        for b in range(len(new))
    ]
    assert weight == pytest.approx(len(new))
    assert total == pytest.approx(sum(float(one[0]) / float(one[1]) for one in each), rel=1e-5)


@pytest.mark.parametrize("clip", [0.2, None])
def test_the_value_loss_and_its_gradient_equal_a_loop(clip):
    new, old, returns, weights = random()
    loss = functools.partial(value_loss, clip=clip)
    with_gradient = jax.jit(jax.value_and_grad(summed(loss), has_aux=True))
    (total, (weight, metrics)), gradient = jax.device_get(with_gradient(new, old, returns, weights))
    want = held = 0.0
    for at in np.ndindex(new.shape):
        w, v, before, r = (float(x[at]) for x in (weights, new, old, returns))
        near = v if clip is None else min(max(v, before - clip), before + clip)
        stuck = (near - r) ** 2 > (v - r) ** 2
        want += w * 0.5 * max((v - r) ** 2, (near - r) ** 2)
        held += w * stuck
        assert gradient[at] == pytest.approx(0.0 if stuck else w * (v - r), abs=1e-5)
    assert total == pytest.approx(want, rel=1e-5)
    assert weight == pytest.approx(weights.sum(), rel=1e-6)
    assert metrics["value_clip_fraction"] == pytest.approx(held, rel=1e-6)
    assert (held > 0) == (clip is not None)


@pytest.mark.parametrize("loss", [policy_loss, value_loss])
def test_what_has_no_weight_changes_neither_loss_nor_gradient_even_if_nan(loss):
    new, old, third, weights = random()

    with_gradient = jax.jit(jax.value_and_grad(summed(loss), has_aux=True))
    junk = [np.where(weights > 0, x, np.nan).astype(np.float32) for x in (new, old, third)]
    jax.tree.map(
        np.testing.assert_array_equal,
        with_gradient(*junk, weights),
        with_gradient(new, old, third, weights),
    )
    for x in (new, old, third):
        x[weights == 0] = np.inf
    assert np.isfinite(with_gradient(new, old, third, weights)[1]).all()


@pytest.mark.slow
def test_ppo_ptx_is_the_gradient_of_the_weighted_sum(make_model):
    config = make_model()
    model = GPT(config)
    rng = np.random.default_rng(0)
    tokens, targets = rng.integers(50, size=(2, 2, 6), dtype=np.int32)
    new, old, advantages, weights = random(rows=2, size=6)
    params = random_params(model, np.zeros((1, 1), np.int32))
    moved = new - old
    old = token_log_probs(jax.jit(model.apply)({"params": params}, tokens), targets) - moved
    batch = {"tokens": tokens[::-1], "targets": targets[::-1], "loss_weights": weights}

    def policy(params):
        logits = model.apply({"params": params}, tokens)
        total, weight, _ = policy_loss(token_log_probs(logits, targets), old, advantages, weights)
        return total / weight

    def pretraining(params):
        total, weight, _ = language_model(model)(params, batch, None)
        return total / weight

    @jax.jit
    def gradients(params, coefficient):
        mixed = with_pretraining(
            jax.grad(policy)(params), jax.grad(pretraining)(params), coefficient
        )
        return mixed, jax.grad(lambda p: policy(p) + coefficient * pretraining(p))(params)

    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    for coefficient in (27.8, 0.0):
        mixed, want = gradients(params, coefficient)
        jax.tree.map(close, mixed, want)
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(want)) > 0.1


def test_a_value_that_came_near_rests_and_one_that_went_away_learns():
    """Worked: old value 0, clip 0.2; returns 1 and -1; the value is now 0.5."""
    ones = np.ones((1, 2), np.float32)
    new = np.array([[0.5, 0.5]], np.float32)
    returns = np.array([[1.0, -1.0]], np.float32)
    loss = lambda new: value_loss(new, 0 * ones, returns, ones)[0]  # noqa: E731
    total, gradient = jax.jit(jax.value_and_grad(loss))(new)
    assert total == pytest.approx(0.5 * (0.8**2 + 1.5**2))
    np.testing.assert_allclose(gradient, [[0.0, 1.5]])


def test_the_four_cases_of_the_clipped_surrogate():
    """Figure 1 of arXiv 1707.06347: only an advantage that was followed too far is flat."""
    ratios, signs = [0.5, 1.5], [1.0, -1.0]
    flat = {(1.5, 1.0), (0.5, -1.0)}
    cases = list(itertools.product(ratios, signs))
    new, advantages = np.array([[(math.log(ratio), sign) for ratio, sign in cases]], "float32").T
    ones = np.ones_like(new)
    loss = lambda new: policy_loss(new, 0 * new, advantages, ones)[0]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(new)
    want = [0.0 if case in flat else -case[1] * case[0] for case in cases]
    np.testing.assert_allclose(np.asarray(gradient)[:, 0], want, rtol=1e-6)
