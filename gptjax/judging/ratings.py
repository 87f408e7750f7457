"""Ratings of checkpoints, by rewards of their answers or by people's votes, and the table.

contest = votes_of("votes.jsonl")
contest = judge_pairs({name: score(answers, rewards) for name, answers in systems.items()})
figures = report(contest)
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from gptjax.alignment.intervals import wilson_interval
from gptjax.alignment.ratings.elo import Judgement, fit_ratings
from gptjax.alignment.ratings.elo_clusters import clustered
from gptjax.alignment.ratings.win_rate import outcomes
from gptjax.alignment.rewards import Reward, composed
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.data.dialogue.records import Row, log_dropped, read_records
from gptjax.data.feedback.readers import counted_rankings
from gptjax.judging.feedback_ratings import compared
from gptjax.judging.policies import Answer
from gptjax.reports.markdown import markdown_table
from gptjax.reports.samples import Sample

TOTAL = "total reward"  # beside its parts, whose names are identifiers
_WINNERS = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclasses.dataclass(frozen=True)
class Contest:
    """Judgements, and the cluster of each: its prompt.

    Attributes:
      judgements: of pairs of systems.
      clusters: one for each; None: all are independent.
    """

    judgements: Sequence[Judgement]
    clusters: Sequence[Hashable] | None


def systems_of(specs: Sequence[str]) -> dict[str, tuple[str, int | None]]:
    """Reads NAME=WORKDIR or NAME=WORKDIR@STEP, two or more: work directory and step by name.

    Raises:
      ValueError: another form, fewer than two, or a name twice.
    """
    systems: dict[str, tuple[str, int | None]] = {}
    for spec in specs:
        name, _, place = spec.partition("=")
        path, at, step = place.rpartition("@")
        if not at or not step.isdecimal():
            path, step = place, ""
        if not name or not path:
            raise ValueError(f"--systems: got {spec!r}, expected NAME=WORKDIR or NAME=WORKDIR@STEP")
        if name in systems:
            raise ValueError(f"--systems: got {name!r} twice, expected different names")
        systems[name] = path, int(step) if step else None
    if len(systems) < 2:
        raise ValueError(f"--systems: got {len(systems)}, expected at least 2 to compare")
    return systems


def votes_of(location: str) -> Contest:
    """Reads rows {"a", "b", "winner"}: two systems' names, and "a", "b" or "tie".

    A field "prompt" with any text marks the votes about the same prompt. If no row has it, all
    votes are independent. `votes:STORE` reads the rankings of a store of feedback instead, see
    `feedback_ratings.compared`.

    Raises:
      ValueError: there is no such file or store, or a row has another form; the message names it.
    """
    if location.startswith("votes:"):
        judgements, clusters = compared(counted_rankings(location, location.removeprefix("votes:")))
        return Contest(judgements, clusters)

    def read(row: Row) -> Iterator[tuple[Judgement, str | None]]:
        winner = row.text("winner")
        if winner not in _WINNERS:
            raise row.wrong("'winner'", repr(winner), "'a', 'b' or 'tie'")
        first, second = row.text("a"), row.text("b")
        if first == second:
            raise row.wrong("'a' and 'b'", f"{first!r} twice", "two systems")
        prompt = None if row.fields.get("prompt") is None else row.text("prompt")
        yield Judgement(first, second, _WINNERS[winner]), prompt

    votes = read_records(f"votes:{location}", location, read)
    log_dropped(votes)
    clusters = [i if prompt is None else prompt for i, (_, prompt) in enumerate(votes)]
    return Contest(
        [judgement for judgement, _ in votes],
        clusters if any(isinstance(c, str) for c in clusters) else None,
    )


Answers = Mapping[Conversation, Sequence[Answer]]


def score(answers: Answers, rewards: Sequence[Reward]) -> dict[Conversation, list[Sample]]:
    """Answers with their rewards; the total, called TOTAL, comes first.

    Raises:
      ValueError: what a reward raises.
    """
    flat = [(prompt, answer) for prompt, several in answers.items() for answer in several]
    prompts, texts = [prompt for prompt, _ in flat], [answer.text for _, answer in flat]
    total, parts = composed(rewards, prompts, texts)
    samples: dict[Conversation, list[Sample]] = {prompt: [] for prompt in answers}
    for i, (prompt, answer) in enumerate(flat):
        earned = {TOTAL: float(total[i])}
        if len(parts) > 1:
            earned |= {name: float(values[i]) for name, values in parts.items()}
        samples[prompt].append(Sample(answer.text, earned, answer.finished))
    return samples


def judge_pairs(
    samples: Mapping[str, Mapping[Conversation, Sequence[Sample]]], tie_margin: float = 0.0
) -> Contest:
    """Compares the answers of every two systems to each prompt, the first with the first and so on.

    Args:
      samples: by system; all have the same prompts, with equally many answers.
      tie_margin: difference of rewards up to which answers tie.
    """
    judgements, clusters = [], []
    for first, second in combinations(samples, 2):
        for number, prompt in enumerate(samples[first]):
            ours, theirs = (
                [sample.rewards[TOTAL] for sample in samples[name][prompt]]
                for name in (first, second)
            )
            won = outcomes(ours, theirs, tie_margin).tolist()
            judgements += [Judgement(first, second, outcome) for outcome in won]
            clusters += [number] * len(won)
    return Contest(judgements, clusters)


def report(contest: Contest, prior: float | None = None) -> dict[str, Any]:
    """Ratings with 95% intervals, rewards of mean 0 and deviation 1, and each pair, as JSON values.

    Intervals treat the judgements of one prompt as one cluster.

    Args:
      contest: of two or more systems.
      prior: standard deviation, in Elo points, that keeps a rating finite; see `elo.fit_ratings`.

    Raises:
      ValueError: as `elo.fit_ratings`, or all judgements are of one prompt.
    """
    judgements, clusters = contest.judgements, contest.clusters
    ratings = fit_ratings(judgements, prior=prior)
    if clusters is not None:
        ratings = clustered(ratings, judgements, clusters, prior=prior)
    rewards = ratings.rewards()
    return {
        "ratings": [
            {
                "name": row.name,
                "rating": row.rating,
                "low": row.low,
                "high": row.high,
                "reward": rewards[row.name],
                "judgements": row.judgements,
            }
            for row in ratings.rows()
        ],
        "ties": ratings.ties,
        "prior": prior,
        "pairs": list(_pairs(contest, ratings.difference)),
    }


def _pairs(
    contest: Contest, difference: Callable[[str, str], tuple[float, float, float]]
) -> Iterator[dict[str, Any]]:
    """Outcomes of each pair that was judged: counts, win rate, and the first one's lead."""
    clusters = contest.clusters or range(len(contest.judgements))
    found: dict[tuple[str, str], dict[Hashable, list[float]]] = {}
    for judgement, cluster in zip(contest.judgements, clusters, strict=True):
        pair, outcome = (judgement.first, judgement.second), judgement.outcome
        if (judgement.second, judgement.first) in found:
            pair, outcome = (judgement.second, judgement.first), 1.0 - outcome
        found.setdefault(pair, {}).setdefault(cluster, []).append(outcome)
    for (first, second), by_cluster in found.items():
        right = np.array([sum(won) for won in by_cluster.values()])
        total = np.array([len(won) for won in by_cluster.values()])
        won = np.concatenate(list(by_cluster.values()))
        lead, low, high = difference(first, second)
        yield {
            "first": first,
            "second": second,
            **{name: int((won == x).sum()) for name, x in (("wins", 1), ("losses", 0))},
            "ties": int((won == 0.5).sum()),
            "win_rate": float(won.mean()),
            "win_rate_interval": list(wilson_interval(right, total)),
            "lead": lead,
            "lead_interval": [low, high],
        }


def rating_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """The table of `report` for people, best first."""
    yield from markdown_table(
        ("system", "rating", "95% interval", "reward", "judgements"),
        (
            [
                row["name"],
                f"{row['rating']:.0f}",
                f"{row['low']:.0f} to {row['high']:.0f}",
                f"{row['reward']:.2f}",
                str(row["judgements"]),
            ]
            for row in figures["ratings"]
        ),
    )
