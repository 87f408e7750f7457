"""Intervals of ratings from clustered judgements: several of one prompt, or of one annotator.

`elo.fit_ratings` takes judgements to be independent. Judgements that share a prompt are not, and
intervals come out too narrow. The sandwich estimate of the covariance (Liang and Zeger 1986,
Biometrika 73, equation 3, with independence as the working model) needs independent clusters alone:

    A^-1 (C / (C - 1) sum over clusters of g g^T) A^-1

where A is the information, g a cluster's gradient of the log-likelihood less their mean, and C the
number of clusters.

    ratings = clustered(fit(judgements), judgements, prompt_of_each)
"""

import dataclasses
import math
from collections.abc import Hashable, Sequence

import numpy as np

from gptjax.alignment.ratings.elo import POINTS_PER_NAT, Judgement, Ratings


def clustered(
    ratings: Ratings,
    judgements: Sequence[Judgement],
    clusters: Sequence[Hashable],
    *,
    prior: float | None = None,
) -> Ratings:
    """`ratings` with the covariance over clusters, or their own if clusters do not differ.

    Args:
      ratings: what `elo.fit_ratings` makes of the judgements.
      judgements: the same ones.
      clusters: the cluster of each judgement, such as the number of its prompt.
      prior: as of `elo.fit_ratings`.

    Raises:
      ValueError: a judgement without a cluster, or fewer than two clusters.
    """
    if len(clusters) != len(judgements) or len(set(clusters)) < 2:
        raise ValueError(
            f"clusters: got {len(set(clusters))} over {len(clusters)} judgements, expected at "
            f"least 2, and one for each of {len(judgements)}"
        )
    index = {name: i for i, name in enumerate(ratings.names)}
    first = np.array([index[judgement.first] for judgement in judgements])
    second = np.array([index[judgement.second] for judgement in judgements])
    outcome = np.array([judgement.outcome for judgement in judgements])
    number = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    of_cluster = np.array([number[cluster] for cluster in clusters])

    count, tied = len(ratings.names), ratings.ties > 0
    half = 0.5 * (ratings.strengths[first] - ratings.strengths[second])
    chances = np.stack([np.exp(half), np.exp(-half), np.full_like(half, ratings.ties)])
    better, worse, tie = chances / chances.sum(0)
    lead = 0.5 * (better - worse)  # the mean of what a judgement adds to the first's gradient
    ends = np.zeros((len(judgements), count))
    rows = np.arange(len(judgements))
    ends[rows, first], ends[rows, second] = 1.0, -1.0

    gradients = ends * (outcome - 0.5 - lead)[:, None]
    spread = 0.25 * (better + worse) - lead**2
    information = np.einsum("j,jn,jm->nm", spread, ends, ends)
    if tied:
        gradients = np.column_stack([gradients, (outcome == 0.5) - tie])
        across = np.einsum("j,jn->n", -lead * tie, ends)[:, None]
        corner = np.sum(tie * (1.0 - tie), keepdims=True)[:, None]
        information = np.block([[information, across], [across.T, corner]])
    # The mean of strengths, which the likelihood does not see, is held at 0.
    information[:count, :count] += 1.0 / count
    if prior is not None:
        information[:count, :count] += (POINTS_PER_NAT / prior) ** 2 * np.eye(count)

    sums = np.zeros((len(number), gradients.shape[1]))
    np.add.at(sums, of_cluster, gradients)
    sums -= sums.mean(0)
    if not sums.any():  # all tie: nothing says how clusters differ
        return ratings
    inverse = np.linalg.inv(information)
    factor = math.sqrt(len(number) / (len(number) - 1))
    steps = (factor * sums @ inverse)[:, :count]
    steps -= steps.mean(1, keepdims=True)
    return dataclasses.replace(ratings, covariance=steps.T @ steps)
