"""Claims of a pipeline, checked over its seeds: figures, and whether each claim holds.

claims = checked(results)   # one dict a seed, as `instruct.json` keeps them
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

COLUMNS = ("gold", "win_rate", "kl", "length", "finished", "text_loss")


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim, its figure for each seed, and whether it holds."""

    text: str
    figures: list[float]
    holds: bool


def checked(results: Sequence[dict[str, Any]]) -> list[Claim]:
    """The claims about a pipeline.

    Args:
      results: of each seed, `reward_model` with the figures of its run and `systems` with those of
        `judgement.System`.
    """

    def of(system: str, name: str) -> np.ndarray:
        return np.array([result["systems"][system][name] for result in results])

    accuracy = np.array([result["reward_model"]["accuracy"] for result in results])
    ceiling = np.array([result["reward_model"]["agreement"] for result in results])
    gain, with_ptx = (of(name, "gold") - of("sft", "gold") for name in ("ppo", "ppo_ptx"))
    cost, ptx_cost = (of(name, "text_loss") - of("sft", "text_loss") for name in ("ppo", "ppo_ptx"))
    given_back = 1 - ptx_cost / np.where(cost > 0, cost, np.nan)
    lost = 1 - with_ptx / np.where(gain > 0, gain, np.nan)
    claims = (
        (
            "reward model: points below the annotators' agreement, at most 3",
            100 * (ceiling - accuracy),
            lambda x: x.mean() <= 3,
        ),
        ("PPO: gold reward above SFT's, in every seed", gain, lambda x: (x > 0).all()),
        (
            "PPO: win rate against SFT, at least 65%",
            100 * of("ppo", "win_rate"),
            lambda x: x.mean() >= 65,
        ),
        (
            "PPO-ptx: share of PPO's loss on text that it gives back, at least 0.5",
            given_back,
            lambda x: x.mean() >= 0.5,
        ),
        (
            "PPO-ptx: share of PPO's gain in gold reward that it costs, at most 0.1",
            lost,
            lambda x: x.mean() <= 0.1,
        ),
    )
    return [Claim(text, x.tolist(), bool(holds(x))) for text, x, holds in claims]


def means(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The figures of each system, averaged over seeds; None where it has none."""
    systems = {}
    for name, first in results[0]["systems"].items():
        of_seeds = [result["systems"][name] for result in results]
        systems[name] = {
            figure: None if first[figure] is None else float(np.mean([x[figure] for x in of_seeds]))
            for figure in first
        }
    return systems
