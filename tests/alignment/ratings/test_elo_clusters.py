"""Ratings' intervals under clusters, against the bootstrap and the Fisher information."""

import itertools

import numpy as np
import pytest

from gptjax.alignment.ratings.elo import Judgement, fit_ratings
from gptjax.alignment.ratings.elo_clusters import clustered

NAMES = ("a", "b", "c")
STRENGTHS = {"a": 0.6, "b": 0.0, "c": -0.6}


def judged(rng, prompts, each, sway, ties=True):
    """Judgements of all pairs to each prompt, `each` times; a prompt sways all of its pairs."""
    judgements, clusters = [], []
    for prompt in range(prompts):
        swayed = {name: x + sway * rng.normal() for name, x in STRENGTHS.items()}
        for _, (first, second) in itertools.product(range(each), itertools.combinations(NAMES, 2)):
            gap = swayed[first] - swayed[second] + rng.logistic()
            outcome = 0.5 if ties and abs(gap) < 0.4 else float(gap > 0)
            judgements.append(Judgement(first, second, outcome))
            clusters.append(prompt)
    return judgements, clusters


@pytest.mark.parametrize("ties", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_deviations_are_those_of_the_bootstrap_over_prompts(ties):
    rng = np.random.default_rng(0)
    judgements, clusters = judged(rng, 60, 4, sway=1.0, ties=ties)
    ratings = clustered(fit_ratings(judgements), judgements, clusters)
    by_prompt = np.array_split(np.arange(len(judgements)), 60)
    drawn = []
    for _ in range(300):
        picked = np.concatenate([by_prompt[i] for i in rng.integers(60, size=60)])
        again = fit_ratings([judgements[i] for i in picked])
        drawn.append([again.strengths[again.names.index(name)] for name in ratings.names])
    np.testing.assert_allclose(
        np.sqrt(np.diag(ratings.covariance)), np.std(drawn, axis=0), rtol=0.12
    )
    wide = ratings.difference("a", "b")[2] - ratings.difference("a", "b")[1]
    narrow = fit_ratings(judgements).difference("a", "b")
    assert wide > 1.3 * (narrow[2] - narrow[1])


def test_of_independent_judgements_it_is_the_fisher_information():
    judgements, _ = judged(np.random.default_rng(1), 3000, 1, sway=0.0)
    plain = fit_ratings(judgements)
    ratings = clustered(plain, judgements, range(len(judgements)))
    np.testing.assert_allclose(ratings.covariance, plain.covariance, rtol=0.1)
    np.testing.assert_array_equal(ratings.strengths, plain.strengths)
    assert ratings.covariance.sum() == pytest.approx(0.0, abs=1e-12)


def test_a_strong_prior_narrows_it():
    judgements, clusters = judged(np.random.default_rng(2), 30, 2, sway=0.5)
    loose = clustered(fit_ratings(judgements, prior=1e6), judgements, clusters, prior=1e6)
    free = clustered(fit_ratings(judgements), judgements, clusters)
    np.testing.assert_allclose(loose.covariance, free.covariance, rtol=1e-4)
    tight = clustered(fit_ratings(judgements, prior=50), judgements, clusters, prior=50)
    assert np.trace(tight.covariance) < 0.7 * np.trace(free.covariance)


def test_too_few_clusters_are_refused():
    judgements, clusters = judged(np.random.default_rng(0), 2, 2, sway=0.0)
    with pytest.raises(ValueError, match="clusters: got 1 over 12 judgements, expected at least 2"):
        clustered(fit_ratings(judgements, prior=400), judgements, [0] * len(clusters))
    with pytest.raises(
        ValueError, match=r"clusters: got 2 over 11 judgements, .* one for each of 1"
    ):
        clustered(fit_ratings(judgements, prior=400), judgements, clusters[1:])
