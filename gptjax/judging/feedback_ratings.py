"""Ratings of models by the rankings of a store of feedback, however few they are.

    with open_store("runs/feedback.db") as store:
        table = feedback_ratings(ranked for _, ranked in store.rankings())
    table["players"][0]["name"], table["players"][0]["low"]

A player is a model with the policy that drew its replies. A ranking of K replies is C(K, 2)
judgements (Ouyang et al. 2022, arXiv 2203.02155, section 3.5), a tie of two a tie, and they make
the ratings of `alignment.ratings.elo`.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gptjax.alignment.ratings.elo import Judgement, Ratings, fit_ratings
from gptjax.alignment.ratings.elo_clusters import clustered
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.data.feedback.readers import alike
from gptjax.data.feedback.records import RankedReplies, Reply

PRIOR = 400.0  # points: who has always won is about 10 to 1, until there is more to go by
_OUTCOMES = {-1: 1.0, 0: 0.5, 1: 0.0}  # by the sign of the first's rank less the second's


def player(reply: Reply) -> str:
    """Name of who gave a reply: "model", or "model (policy)"."""
    return f"{reply.model} ({reply.policy})" if reply.policy else reply.model


def compared(rankings: Iterable[RankedReplies]) -> tuple[list[Judgement], list[Conversation]]:
    """Judgements of every two replies that two players gave, and the prompt of each judgement."""
    judgements, prompts = [], []
    for ranked in rankings:
        given = list(zip(map(player, ranked.replies), ranked.ranks, strict=True))
        for (first, rank), (second, other) in itertools.combinations(given, 2):
            if first != second:
                outcome = _OUTCOMES[int(np.sign(rank - other))]
                judgements.append(Judgement(first, second, outcome))
                prompts.append(ranked.prompt)
    return judgements, prompts


def feedback_ratings(rankings: Iterable[RankedReplies]) -> dict[str, Any]:
    """Bradley-Terry ratings, best first, as JSON values.

    Players whom no chain of judgements connects cannot be compared: they are of different groups,
    and the mean of each group is 1000. A normal prior of PRIOR points keeps ratings finite. Of the
    information of independent judgements and the spread over prompts, the wider interval is given.

    Args:
      rankings: of a labeller's on the same replies, the last one counts.

    Returns:
      players: of each name, rating, low and high (95%, in Elo points), games (its judgements), and
        group, from 0, that of the most judgements.
      comparisons: number of judgements.
      prior: PRIOR.
    """
    judgements, prompts = compared(itertools.chain(*alike(rankings)))
    together = sorted(_groups(judgements), key=len, reverse=True)
    players = []
    for group, places in enumerate(together):
        ratings = _rated([judgements[i] for i in places], [prompts[i] for i in places])
        players += [
            {
                "name": row.name,
                "rating": row.rating,
                "low": row.low,
                "high": row.high,
                "games": row.judgements,
                "group": group,
            }
            for row in ratings.rows()
        ]
    return {"players": players, "comparisons": len(judgements), "prior": PRIOR}


def _groups(judgements: Sequence[Judgement]) -> list[list[int]]:
    """Numbers of the judgements of each group of players that they connect."""
    group_of: dict[str, set[str]] = {}
    for judgement in judgements:
        ours, theirs = (
            group_of.setdefault(name, {name}) for name in (judgement.first, judgement.second)
        )
        if ours is not theirs:
            group_of.update(dict.fromkeys(joined := ours | theirs, joined))
    places: dict[int, list[int]] = {}
    for i, judgement in enumerate(judgements):
        places.setdefault(id(group_of[judgement.first]), []).append(i)
    return list(places.values())


def _rated(judgements: Sequence[Judgement], prompts: Sequence[Conversation]) -> Ratings:
    ratings = fit_ratings(judgements, prior=PRIOR)
    if len(set(prompts)) < 2:
        return ratings
    spread = clustered(ratings, judgements, prompts, prior=PRIOR)
    variances = np.maximum(np.diag(ratings.covariance), np.diag(spread.covariance))
    return dataclasses.replace(ratings, covariance=np.diag(variances))
