"""Best-of-n against enumeration and simulation."""

import itertools
import math

import jax
import numpy as np
import pytest

from gptjax.alignment.ratings.best_of_n import best, expected_best, kl_of_best


def test_the_best_is_the_first_of_the_highest_there_are():
    scores = np.array([[1.0, 3.0, 3.0], [5.0, 2.0, -1.0], [-7.0, -8.0, 0.0]], np.float32)
    np.testing.assert_array_equal(jax.jit(best)(scores), [1, 0, 2])
    mask = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]], bool)
    np.testing.assert_array_equal(jax.jit(best)(scores, mask), [2, 1, 0])
    assert best(scores).dtype == np.int32


@pytest.mark.parametrize(("n", "want"), [(1, 0.0), (2, math.log(2) - 0.5), (64, 3.174508)])
def test_the_divergence_of_the_best(n, want):
    assert kl_of_best(n) == pytest.approx(want, rel=1e-6)
    # The best of n uniform draws has density n x^(n - 1): its divergence, by the midpoint rule.
    x = (np.arange(200_000) + 0.5) / 200_000
    log_density = math.log(n) + (n - 1) * np.log(x)
    assert kl_of_best(n) == pytest.approx(np.mean(np.exp(log_density) * log_density), abs=1e-4)


def test_the_expected_best_is_the_mean_over_all_subsets():
    scores = np.random.default_rng(0).normal(size=(3, 7))
    scores[1, 2] = scores[1, 5]
    for n in range(1, 8):
        want = [np.mean([max(s) for s in itertools.combinations(row, n)]) for row in scores]
        np.testing.assert_allclose(expected_best(scores, n), want, rtol=1e-9)
    values = np.random.default_rng(2).random(scores.shape)
    for n in range(1, scores.shape[1] + 1):
        subsets = list(itertools.combinations(range(scores.shape[1]), n))
        want = [
            np.mean([of[max(s, key=lambda i: row[i])] for s in subsets])  # the first of equals
            for row, of in zip(scores, values, strict=True)
        ]
        np.testing.assert_allclose(expected_best(scores, n, values), want, rtol=1e-9)
    big = expected_best(np.random.default_rng(1).random((1, 2000)), 512)
    assert big[0] == pytest.approx(512 / 513, abs=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kl_of_best(0), "n: got 0, expected 1 or more"),
        (lambda: expected_best(np.zeros((2, 4)), 5), "n: got 5, expected 1 to 4"),
    ],
)
def test_what_has_no_meaning_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
