"""The K-wise loss against loops over annotators and pairs, and calibration against a loop."""

import functools
import itertools
import math

import jax
import numpy as np
import pytest

from gptjax.alignment.ranking import calibration, pair_weights, ranking, ranking_sums
from gptjax.alignment.reward_model import RewardModel
from tests.support.params import random_params

# Ranks of each prompt's annotators, one number an answer, lower is better.
RANKS = [
    [(1, 2, 3, 4)],
    [(1, 2, 2), (2, 1, 3), (1, 1, 1)],
    [(1, 1)],
    [(3, 1, 2, 2), (4, 1, 2, 3)],
    [(1, 2)],
]


def rankings(ranks=RANKS, size=5):
    """preferred [B, size, size] and num_answers [B] of `ranks`, and random rewards, padded."""
    preferred = np.zeros((len(ranks), size, size), np.float32)
    for row, annotators in zip(preferred, ranks, strict=True):
        for one, (i, j) in itertools.product(annotators, np.ndindex(size, size)):
            if max(i, j) < len(one) and one[i] < one[j]:
                row[i, j] += 1 / len(annotators)
    rewards = np.random.default_rng(0).normal(size=(len(ranks), size)).astype(np.float32)
    return rewards, preferred, np.array([len(one[0]) for one in ranks], np.int32)


def oracle(rewards, ranks=RANKS):
    """Equation 1, pair by pair: every annotator's pairs over C(K, 2), averaged over annotators."""
    loss = weight = right = margin = 0.0
    for scores, annotators in zip(rewards.astype(float), ranks, strict=True):
        for one in annotators:
            share = 1 / (math.comb(len(one), 2) * len(annotators))
            for i, j in itertools.combinations(range(len(one)), 2):
                if one[i] == one[j]:
                    continue
                better, worse = (i, j) if one[i] < one[j] else (j, i)
                gap = scores[better] - scores[worse]
                loss -= share * math.log(1 / (1 + math.exp(-gap)))
                weight += share
                right += share * (gap > 0)
                margin += share * gap
    return loss, weight, {"accuracy": right, "margin": margin}


def test_the_loss_is_the_sum_over_pairs():
    rewards, preferred, num_answers = rankings()
    loss, weight, metrics = jax.jit(ranking_sums)(rewards, preferred, num_answers)
    want_loss, want_weight, want_metrics = oracle(rewards)
    assert loss == pytest.approx(want_loss, rel=1e-5)
    assert weight == pytest.approx(want_weight, rel=1e-6)
    assert metrics == pytest.approx(want_metrics, rel=1e-5)


def test_a_prompt_without_ties_weighs_one_and_a_tie_takes_its_share():
    _, preferred, num_answers = rankings()
    weights = np.asarray(jax.jit(pair_weights)(preferred, num_answers))
    np.testing.assert_allclose(
        weights.sum((1, 2)), [1, (2 / 3 + 1 + 0) / 3, 0, (5 / 6 + 1) / 2, 1], rtol=1e-6
    )
    np.testing.assert_allclose(weights[0][np.triu_indices(4, 1)], 1 / 6, rtol=1e-6)


def test_knowing_nothing_costs_ln_2_and_is_right_half_the_time():
    rewards, preferred, num_answers = rankings()
    sums = jax.jit(ranking_sums)(np.zeros_like(rewards), preferred, num_answers)
    loss, weight, metrics = jax.device_get(sums)
    assert loss / weight == pytest.approx(math.log(2), rel=1e-6)
    assert metrics["accuracy"] / weight == pytest.approx(0.5)


def test_neighbours_and_padding_answers_change_nothing():
    rewards, preferred, num_answers = rankings()
    gradient = jax.jit(jax.grad(lambda rewards, *rest: ranking_sums(rewards, *rest)[0]))
    together = np.asarray(gradient(rewards, preferred, num_answers))
    for b, count in enumerate(num_answers):
        alone = gradient(
            rewards[b : b + 1, :count],
            preferred[b : b + 1, :count, :count],
            np.array([count], np.int32),
        )
        np.testing.assert_allclose(together[b, :count], np.asarray(alone)[0], rtol=1e-6)
        np.testing.assert_array_equal(together[b, count:], 0.0)
    padded = np.where(np.arange(5) < num_answers[:, None], rewards, np.inf)
    junk = np.where(np.arange(5)[:, None] < num_answers[:, None, None], preferred, 1.0)
    sums = jax.jit(ranking_sums)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6),
        sums(padded, junk.astype(np.float32), num_answers),
        sums(rewards, preferred, num_answers),
    )


def batches(rows_of_padding=(0, 0)):
    """One batch in both forms: whole texts, and prompts with their answers; rows of zeros below."""
    rng = np.random.default_rng(0)
    ranks = RANKS[:2]
    _, preferred, num_answers = rankings(ranks, size=4)
    prompts = rng.integers(50, size=(2, 6), dtype=np.int32)
    prompt_lengths = np.array([6, 3], np.int32)
    answers = rng.integers(50, size=(2, 4, 5), dtype=np.int32)
    answer_lengths = rng.integers(1, 6, size=(2, 4), dtype=np.int32)
    tokens = np.zeros((2, 4, 11), np.int32)
    for b, k in np.ndindex(2, 4):
        text = [*prompts[b, : prompt_lengths[b]], *answers[b, k, : answer_lengths[b, k]]]
        tokens[b, k, : len(text)] = text
    given = {"preferred": preferred, "num_answers": num_answers}
    lengths = prompt_lengths[:, None] + answer_lengths
    whole = {"tokens": tokens, "lengths": lengths, **given}
    shared = {
        "prompts": prompts,
        "prompt_lengths": prompt_lengths,
        "answers": answers,
        "answer_lengths": answer_lengths,
        **given,
    }
    for batch, more in zip((whole, shared), rows_of_padding, strict=True):
        for name, x in batch.items():
            batch[name] = np.pad(x, [(0, more), *[(0, 0)] * (x.ndim - 1)])
    return whole, shared, ranks


@pytest.fixture(scope="module")
def model(make_model):
    return RewardModel(make_model())


@pytest.fixture(scope="module")
def sums_with_gradient(model):
    """((loss, (weight, metrics)), gradient), with prompts shared or not."""

    @functools.partial(jax.jit, static_argnums=2)
    def sums(params, batch, share_prompts):
        def total(params):
            loss_sum, *others = ranking(model, share_prompts=share_prompts)(params, batch, None)
            return loss_sum, others

        return jax.value_and_grad(total, has_aux=True)(params)

    return sums


@pytest.fixture(scope="module")
def params(model):
    one = (np.zeros((1, 1), np.int32), np.ones(1, np.int32))
    return random_params(model, *one)


def test_the_training_loss_is_the_loss_of_the_models_rewards_in_both_forms(
    model, params, sums_with_gradient
):
    """Whatever the rows of padding, of which one form has one and the other two."""
    whole, shared, ranks = batches(rows_of_padding=(1, 2))
    flat = (whole["tokens"].reshape(-1, 11), whole["lengths"].ravel())
    rewards = jax.jit(model.apply)({"params": params}, *flat)
    want_loss, want_weight, want_metrics = oracle(np.asarray(rewards)[:8].reshape(2, 4), ranks)

    (loss, (weight, metrics)), gradient = sums_with_gradient(params, whole, False)
    assert loss == pytest.approx(want_loss, rel=1e-5)
    assert weight == pytest.approx(want_weight, rel=1e-6)
    assert metrics == pytest.approx(want_metrics, rel=1e-4)
    (shared_loss, _), shared_gradient = sums_with_gradient(params, shared, True)
    assert shared_loss == pytest.approx(float(loss), rel=1e-5)
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5),
        shared_gradient,
        gradient,
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
@pytest.mark.parametrize("share_prompts", [False, True])
def test_a_row_of_padding_changes_neither_loss_nor_gradient(
    params, sums_with_gradient, share_prompts
):
    batch, padded = batches()[share_prompts], batches((1, 1))[share_prompts]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    sums = [sums_with_gradient(params, x, share_prompts) for x in (padded, batch)]
    jax.tree.map(close, *sums)


def test_dropout_is_drawn_for_whole_texts_and_refused_for_shared_prompts(make_model, params):
    model = RewardModel(make_model(residual_dropout=0.3))
    whole, shared, _ = batches()
    loss = jax.jit(functools.partial(ranking(model), params, whole))
    first, again, other = (loss(jax.random.key(seed))[0] for seed in (1, 1, 2))
    assert first == again != other
    with pytest.raises(ValueError, match=r"^ranking: got shared prompts with dropout 0.3"):
        ranking(model, share_prompts=True)(params, shared, jax.random.key(1))


def test_calibration_equals_a_loop_over_bins():
    rng = np.random.default_rng(0)
    margins = rng.normal(size=(40, 5)) * 2
    weights = rng.random((40, 5)) * (rng.random((40, 5)) < 0.7)
    margins[weights == 0] = np.nan
    margins[0, 0], weights[0, 0] = 0.0, 1.0
    got = calibration(margins, weights, bins=5)
    error = 0.0
    for b in range(5):
        low, high = 0.5 + b / 10, 0.5 + (b + 1) / 10
        inside = []
        for margin, weight in zip(margins.ravel(), weights.ravel(), strict=True):
            if weight == 0:
                continue
            confidence = 1 / (1 + math.exp(-abs(margin)))
            if low <= confidence < high or (b == 4 and confidence == 1):
                inside.append((weight, confidence, 0.5 if margin == 0 else float(margin > 0)))
        weight = sum(w for w, _, _ in inside)
        confidence = sum(w * c for w, c, _ in inside) / weight
        accuracy = sum(w * a for w, _, a in inside) / weight
        assert got.weight[b] == pytest.approx(weight)
        assert got.confidence[b] == pytest.approx(confidence)
        assert got.accuracy[b] == pytest.approx(accuracy)
        error += weight * abs(accuracy - confidence)
    assert got.error == pytest.approx(error / weights.sum())


def test_true_odds_are_calibrated_and_doubled_ones_are_not():
    rng = np.random.default_rng(0)
    gaps = rng.normal(size=200_000) * 1.5
    margins = np.where(rng.random(gaps.size) < 1 / (1 + np.exp(-gaps)), gaps, -gaps)
    assert calibration(margins, np.ones_like(margins)).error < 0.005
    assert calibration(2 * margins, np.ones_like(margins)).error > 0.05


def test_calibration_of_sure_and_of_no_pairs():
    sure = calibration([800.0, -800.0], [1.0, 1.0])
    assert (sure.error, sure.accuracy[-1]) == (0.5, 0.5)
    assert np.isnan(sure.accuracy[:-1]).all()
    with pytest.raises(ValueError, match="margins: got 0 pairs"):
        calibration([1.0], [0.0])
    with pytest.raises(ValueError, match="1 of them NaN"):
        calibration([np.nan], [1.0])
