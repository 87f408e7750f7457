"""Rewards of tokens against loops, worked examples of the controller, moments against NumPy."""

import functools

import jax
import numpy as np
import pytest

from gptjax.alignment import token_rewards as module
from gptjax.alignment.token_rewards import ScoreMoments, next_coefficient

answer_kl = jax.jit(module.answer_kl)
last_token = jax.jit(module.last_token)
scaled_scores = jax.jit(module.scaled_scores, static_argnames=("centre", "limit"))
token_rewards = jax.jit(module.token_rewards, static_argnames="unfinished_score")
with_scores = jax.jit(ScoreMoments.with_scores)


def test_the_last_token_is_the_last_entry_of_the_mask_wherever_its_gaps_are():
    mask = np.array(
        [[0, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0], [1, 1, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0] * 6],
        bool,
    )
    np.testing.assert_array_equal(
        last_token(mask),
        np.array(
            [
                [0, 0, 0, 1, 0, 0],
                [0, 0, 0, 0, 1, 0],
                [0, 0, 0, 0, 0, 1],
                [1, 0, 0, 0, 0, 0],
                [0] * 6,
            ],
            bool,
        ),
    )


def random(seed=0, rows=6, size=7):
    """Log-probabilities of two models, a mask with left, right and inner gaps, scores, finished."""
    rng = np.random.default_rng(seed)
    log_probs, reference = -rng.exponential(size=(2, rows, size)).astype(np.float32)
    mask = rng.random((rows, size)) < 0.6
    mask[0], mask[1] = True, False
    finished = np.arange(rows) % 2 == 0
    return log_probs, reference, mask, rng.normal(size=rows).astype(np.float32), finished


@pytest.mark.parametrize("unfinished_score", [None, -1.0])
def test_token_rewards_equal_a_loop(unfinished_score):
    log_probs, reference, mask, scores, finished = random()
    rewards = np.asarray(
        token_rewards(*random(), kl_coefficient=0.02, unfinished_score=unfinished_score)
    )
    for b in range(len(scores)):
        score = float(scores[b])
        if not finished[b] and unfinished_score is not None:
            score = unfinished_score
        want = [0.0] * mask.shape[1]
        for t in reversed(range(mask.shape[1])):
            if mask[b, t]:
                want[t] = score - 0.02 * (float(log_probs[b, t]) - float(reference[b, t]))
                score = 0.0
        np.testing.assert_allclose(rewards[b], want, atol=1e-6)


def test_rewards_of_an_answer_add_up_to_its_score_less_the_penalty():
    log_probs, reference, mask, scores, finished = random()
    rewards = token_rewards(log_probs, reference, mask, scores, finished, kl_coefficient=0.1)
    kl = answer_kl(log_probs, reference, mask)
    want = np.where(mask.any(1), scores - 0.1 * np.asarray(kl), 0.0)
    np.testing.assert_allclose(np.asarray(rewards).sum(1), want, atol=1e-5)
    same = token_rewards(log_probs, log_probs, mask, scores, finished, kl_coefficient=0.1)
    np.testing.assert_array_equal(same, np.where(last_token(mask), scores[:, None], 0.0))


def test_what_stands_off_the_mask_changes_no_reward_even_if_nan():
    log_probs, reference, mask, scores, finished = random()
    rewards = token_rewards(log_probs, reference, mask, scores, finished, kl_coefficient=0.1)
    junk = np.where(mask, log_probs, np.nan).astype(np.float32)
    padded = np.pad(junk, [(0, 0), (3, 2)], constant_values=np.nan)
    wide = token_rewards(
        padded,
        np.pad(reference, [(0, 0), (3, 2)]),
        np.pad(mask, [(0, 0), (3, 2)]),
        scores,
        finished,
        kl_coefficient=0.1,
    )
    np.testing.assert_array_equal(np.asarray(wide)[:, 3:-2], rewards)
    np.testing.assert_array_equal(np.asarray(wide)[:, :3], 0.0)


@pytest.mark.parametrize(
    ("kl", "target", "want"),
    [
        (6.0, 6.0, 0.02),  # at the target
        (6.6, 6.0, 0.0202),  # a tenth above: e = 0.1
        (9.0, 6.0, 0.0204),  # e = 0.5, kept to 0.2
        (0.0, 6.0, 0.0196),  # e = -1, kept to -0.2
        (9.0, None, 0.02),
    ],
)
def test_the_coefficient_follows_the_papers_controller(kl, target, want):
    compiled = jax.jit(functools.partial(next_coefficient, target=target))
    assert compiled(0.02, kl) == pytest.approx(want, rel=1e-6)


def test_an_adaptive_coefficient_settles_where_kl_is_the_target():
    """Of a policy whose KL is 0.3 / beta, beta ends at 0.05 for a target of 6 nats."""
    step = jax.jit(lambda beta: next_coefficient(beta, 0.3 / beta, 6.0))
    beta = np.float32(0.02)
    for _ in range(300):
        beta = step(beta)
    assert beta == pytest.approx(0.05, rel=1e-3)


def test_moments_of_batches_are_the_moments_of_all_scores():
    rng = np.random.default_rng(0)
    parts = [(50 + 3 * rng.normal(size=size)).astype(np.float32) for size in (5, 1, 64, 8)]
    moments = ScoreMoments.none()
    for part in parts:
        moments = with_scores(moments, part)
    scores = np.concatenate(parts).astype(np.float64)
    assert moments.count == scores.size
    assert moments.mean == pytest.approx(scores.mean(), rel=1e-6)
    assert moments.deviation == pytest.approx(scores.std(), rel=1e-4)
    np.testing.assert_allclose(scaled_scores(parts[0], moments), parts[0] / scores.std(), rtol=1e-4)
    centred = (parts[0] - scores.mean()) / scores.std()
    np.testing.assert_allclose(
        scaled_scores(parts[0], moments, centre=True, limit=0.5),
        np.clip(centred, -0.5, 0.5),
        rtol=1e-3,
        atol=1e-5,
    )


def test_equal_scores_are_not_scaled():
    for value, size in ((2.0, 4), (0.1, 8), (0.1, 6), (17.3, 7)):
        scores, moments = np.full(size, value, np.float32), ScoreMoments.none()
        for _ in range(3):
            moments = with_scores(moments, scores)
            np.testing.assert_array_equal(scaled_scores(scores, moments), scores)
