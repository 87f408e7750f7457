"""Ratings from pairwise judgements: Bradley-Terry with ties, on Elo's scale, with intervals.

Bradley and Terry 1952: P(a beats b) = 1 / (1 + exp(s_b - s_a)) of strengths s. Ties are Davidson's
(1970): with p = exp(s) and a nu that is fitted along,

    P(a beats b) = p_a / (p_a + p_b + nu sqrt(p_a p_b)), P(tie) = nu sqrt(p_a p_b) / (the same).

Elo's scale is 400 / ln 10 points a nat, 10 to 1 odds at 400 points. All judgements count alike, in
any order: this is the maximum of the likelihood, not Elo's running update. Float64, by NumPy.

    ratings = fit([Judgement("ppo", "sft", 1.0), Judgement("sft", "ppo", 0.5), ...])
    for row in ratings.rows(): print(row.name, row.rating, row.low, row.high)
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
from scipy.sparse.csgraph import NegativeCycleError, bellman_ford, connected_components
from scipy.stats import norm

POINTS_PER_NAT = 400.0 / math.log(10.0)
_STEPS = 100  # of Newton's method, which takes about ten
_PRECISION = 1e-6  # of its last step, in standard errors


@dataclasses.dataclass(frozen=True)
class Judgement:
    """Outcome of one comparison: 1 if the first is better, 0 if the second is, 0.5 for a tie."""

    first: str
    second: str
    outcome: float


@dataclasses.dataclass(frozen=True)
class RatingRow:
    """One name's rating with its interval, in Elo points, and its number of judgements."""

    name: str
    rating: float
    low: float
    high: float
    judgements: int


@dataclasses.dataclass(frozen=True)
class Ratings:
    """Fitted strengths.

    Attributes:
      names: N, in the order in which they first came.
      strengths: [N] nats, of mean 0. A difference is the log-odds that one beats the other.
      covariance: [N, N] of the strengths, from the Fisher information.
      ties: Davidson's nu; 0 where nothing was tied.
      counts: [N], judgements of each.
    """

    names: tuple[str, ...]
    strengths: np.ndarray
    covariance: np.ndarray
    ties: float
    counts: np.ndarray

    def rows(self, confidence: float = 0.95, centre: float = 1000.0) -> list[RatingRow]:
        """Ratings whose mean is `centre`, best first.

        An interval is normal, from the observed Fisher information. It says where the rating,
        relative to the mean of all, would be if as many independent judgements were made again.
        Judgements that share prompts are not quite independent, so their intervals are too narrow.
        """
        reach = _deviations(confidence) * np.sqrt(np.diag(self.covariance)) * POINTS_PER_NAT
        ratings = centre + POINTS_PER_NAT * self.strengths
        columns = (self.names, ratings, ratings - reach, ratings + reach, self.counts)
        rows = [
            RatingRow(name, float(rating), float(low), float(high), int(count))
            for name, rating, low, high, count in zip(*columns, strict=True)
        ]
        return sorted(rows, key=lambda row: -row.rating)

    def difference(
        self, first: str, second: str, confidence: float = 0.95
    ) -> tuple[float, float, float]:
        """Elo points by which `first` leads `second`, with the ends of the interval."""
        contrast = np.zeros(len(self.names))
        contrast[self._index(first)] += 1.0
        contrast[self._index(second)] -= 1.0
        lead = float(contrast @ self.strengths) * POINTS_PER_NAT
        variance = float(contrast @ self.covariance @ contrast)
        reach = _deviations(confidence) * math.sqrt(max(variance, 0.0)) * POINTS_PER_NAT
        return lead, lead - reach, lead + reach

    def rewards(self) -> dict[str, float]:
        """Strengths as scalar rewards of mean 0 and standard deviation 1, or all 0 if all equal.

        Strengths are equal if they differ by less than the precision of the fit.
        """
        spread = float(self.strengths.std())
        precision = _PRECISION * math.sqrt(float(self.covariance.diagonal().max()))
        return {
            name: float(strength) / spread if spread > precision else 0.0
            for name, strength in zip(self.names, self.strengths, strict=True)
        }

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise ValueError(
                f"ratings: got name {name!r}, expected one of: {', '.join(self.names)}"
            )
        return self.names.index(name)


def _deviations(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence}, expected above 0 and below 1")
    return float(norm.ppf(0.5 + 0.5 * confidence))


def _log_chances(gap: np.ndarray, ties: float) -> np.ndarray:
    """Logarithms, up to a common term, of better, worse and tied at strengths `gap` apart."""
    tie = np.full_like(gap, math.log(ties) if ties > 0 else -np.inf)
    return np.stack([0.5 * gap, -0.5 * gap, tie])


def fit_ratings(judgements: Iterable[Judgement], *, prior: float | None = None) -> Ratings:
    """The strengths of greatest likelihood.

    Args:
      judgements: of two or more names.
      prior: standard deviation, in Elo points, of a normal prior on each rating about the mean.
        None: no prior; a name that never loses would then be rated infinite, and is refused.

    Raises:
      ValueError: an unknown outcome, a name against itself, or no judgements; groups of names that
        no chain of judgements connects, with a prior or without (the message lists them); without a
        prior, judgements whose best strengths are infinite.
    """
    names: dict[str, int] = {}
    triples: list[tuple[int, int, float]] = []
    for i, judgement in enumerate(judgements):
        if judgement.outcome not in (0.0, 0.5, 1.0):
            raise ValueError(
                f"judgement {i}: got outcome {judgement.outcome!r}, expected 1 (first), 0 (second) "
                "or 0.5 (tie)"
            )
        if judgement.first == judgement.second:
            raise ValueError(f"judgement {i}: got {judgement.first!r} twice, expected two names")
        first = names.setdefault(judgement.first, len(names))
        second = names.setdefault(judgement.second, len(names))
        triples.append((first, second, float(judgement.outcome)))
    if not triples:
        raise ValueError("judgements: got none, expected at least one")
    if prior is not None and not 0 < prior < math.inf:
        raise ValueError(f"prior: got {prior} points, expected more than 0")
    count = len(names)
    wins, tied = np.zeros((count, count)), np.zeros((count, count))
    for a, b, outcome in triples:
        if outcome == 0.5:
            tied[a, b] += 1
            tied[b, a] += 1
        else:
            wins[(a, b) if outcome else (b, a)] += 1
    played = (wins + wins.T + tied).sum(1).astype(int)
    if not wins.any():  # no nu fits ties alone: each is then half a win for either
        wins, tied = tied / 2, np.zeros_like(tied)
    _check_connected(tuple(names), wins, tied, prior)
    pull = 0.0 if prior is None else (POINTS_PER_NAT / prior) ** 2
    strengths, covariance, ties = _maximise(wins, tied, pull)
    return Ratings(tuple(names), strengths, covariance, ties, played)


def _check_connected(
    names: tuple[str, ...], wins: np.ndarray, tied: np.ndarray, prior: float | None
) -> None:
    """Refuses judgements whose likelihood grows without end as strengths, or nu, do.

    Without ties that is where a group never loses to the others (Ford 1957). With ties, strengths
    d and log nu = 1/2 growing together lose nothing if d_a - d_b >= 1 where a beat b, and
    |d_a - d_b| <= 1 where they tied. Such d exist unless some cycle has more wins than ties.
    """
    groups = _groups(names, wins + tied, "weak")
    if len(groups) > 1:
        listed = "; ".join(", ".join(group) for group in groups)
        raise ValueError(
            f"judgements: got {len(groups)} groups that nothing compares ({listed}), expected a "
            "chain of judgements between any two names"
        )
    if prior is not None:
        return
    groups = _groups(names, wins + tied, "strong")
    if len(groups) > 1:
        index = {name: i for i, name in enumerate(names)}
        for group in groups:
            inside = np.isin(np.arange(len(names)), [index[name] for name in group])
            if not (wins + tied)[~inside][:, inside].any():
                raise ValueError(
                    f"judgements: got {', '.join(group)} never beaten or tied by the others, so "
                    "that the rating would be infinite, expected a loss, a tie or a prior"
                )
    try:
        if tied.any():
            bellman_ford(np.where(wins > 0, -1.0, (tied > 0).astype(float)), indices=0)
            raise ValueError(
                "judgements: got wins in one order and only ties against it, so that ratings would "
                "be infinite, expected a win against that order or a prior"
            )
    except NegativeCycleError:
        pass


def _groups(names: tuple[str, ...], edges: np.ndarray, connection: str) -> list[list[str]]:
    found, labels = connected_components(edges, directed=True, connection=connection)
    return [[n for n, label in zip(names, labels, strict=True) if label == g] for g in range(found)]


def _maximise(
    wins: np.ndarray, tied: np.ndarray, pull: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Newton's method on strengths and log nu, with halved steps where one would overshoot."""
    count = wins.shape[0]
    first, second = np.nonzero(np.triu(wins + wins.T + tied, 1))
    outcomes = np.stack([wins[first, second], wins[second, first], tied[first, second]])
    total, with_ties = outcomes.sum(0), bool(tied.any())
    size = count + with_ties
    # The mean of strengths, which the likelihood does not see, is held at 0.
    held = np.zeros((size, size))
    held[:count, :count] = 1.0 / count
    prior = np.zeros((size, size))
    prior[:count, :count] = pull * np.eye(count)
    design = np.zeros((3, len(first), size))
    pairs = np.arange(len(first))
    design[0, pairs, first] = design[1, pairs, second] = 0.5
    design[0, pairs, second] = design[1, pairs, first] = -0.5
    if with_ties:
        design[2, :, count] = 1.0
    used = slice(0, 3 if with_ties else 2)
    design, outcomes = design[used], outcomes[used]

    def terms(at: np.ndarray):
        logits = design @ at
        top = logits.max(0)
        log_total = top + np.log(np.exp(logits - top).sum(0))
        value = (outcomes * (logits - log_total)).sum() - 0.5 * at @ prior @ at
        return value, np.exp(logits - log_total)

    at = np.zeros(size)
    value, chances = terms(at)
    for _ in range(_STEPS):
        gradient = np.einsum("kp,kpn->n", outcomes - total * chances, design) - prior @ at
        mean = np.einsum("kp,kpn->pn", chances, design)
        information = np.einsum("p,kp,kpn,kpm->nm", total, chances, design, design)
        information += prior - np.einsum("p,pn,pm->nm", total, mean, mean)
        step = np.linalg.solve(information + held, gradient)
        shrink, least = 1.0, value - 1e-10 * abs(value)  # of rounding
        while (better := terms(at + shrink * step))[0] < least and shrink > 1e-6:
            shrink *= 0.5
        at, (value, chances) = at + shrink * step, better
        if gradient @ step < _PRECISION**2:
            break
    else:
        raise ValueError(
            "judgements: got a fit that does not converge, expected more judgements or a prior"
        )
    centring = np.eye(count) - 1.0 / count
    covariance = centring @ np.linalg.inv(information + held)[:count, :count] @ centring
    strengths = at[:count] - at[:count].mean()
    return strengths, covariance, float(np.exp(at[count])) if with_ties else 0.0
