"""A classifier of undesired content for a chat server, and OpenAI's shape of what it says.

    moderator = Moderator.load("runs/moderation")
    scores = moderator.scores(["a text", "another"])         # [{"S": 0.01, ...}, ...]
    moderation_response(scores, moderator.thresholds, "runs/moderation", "modr-1")

OpenAI's thirteen categories are those of the specification openai/openai-openapi 2.3.0. The eight
of the public rows (arXiv 2208.03274) are the same under other names. Those for which the run has no
classifier have the score 0.0, are never flagged, and have no input types: nothing judged them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.moderation.scoring import TextScorer

OFFICIAL = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit"),
    *("illicit/violent", "self-harm", "self-harm/intent", "self-harm/instructions"),
    *("sexual", "sexual/minors", "violence", "violence/graphic"),
)
NAMES = {
    **{"S": "sexual", "S3": "sexual/minors", "H": "hate", "H2": "hate/threatening"},
    **{"V": "violence", "V2": "violence/graphic", "HR": "harassment", "SH": "self-harm"},
}


@dataclasses.dataclass(frozen=True)
class Moderator:
    """The classifier of a run.

    Attributes:
      scorer: of the run.
    """

    scorer: TextScorer

    @classmethod
    def load(cls, path: str, given_as: str = "moderation") -> "Moderator":
        """The classifier of the run in a directory.

        Args:
          path: of the run, which has ended.
          given_as: the flag or the field that gave it, with which messages begin.

        Raises:
          ValueError: see `TextScorer.load`.
        """
        return cls(TextScorer.load(WorkDirectory(path, given_as)))

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, as the run has them."""
        return self.scorer.categories

    @property
    def thresholds(self) -> Mapping[str, float | None]:
        """By category the probability from which a text is flagged; None: it flags none."""
        return self.scorer.thresholds

    def scores(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """The probability of each category, of each text, however long; see `TextScorer`."""
        return [dict(zip(self.categories, row, strict=True)) for row in self.scorer(texts).tolist()]


def moderation_result(
    scores: Mapping[str, float], thresholds: Mapping[str, float | None]
) -> dict[str, Any]:
    """One entry of `results` of `/v1/moderations`.

    Args:
      scores: probabilities by category. Those of NAMES get OpenAI's names; others keep theirs and
        stand beside the thirteen.
      thresholds: by the same categories; None, or none: the category is not flagged.

    Returns:
      `flagged`, `categories` (bool), `category_scores` (float) and `category_applied_input_types`
      (["text"], or [] of a category that nothing judged), of all thirteen categories and of ours.
    """
    found = {NAMES.get(name, name): score for name, score in scores.items()}
    limits = {NAMES.get(name, name): limit for name, limit in thresholds.items()}
    names = [*OFFICIAL, *(name for name in found if name not in OFFICIAL)]
    values = {name: float(found.get(name, 0.0)) for name in names}
    flags = {}
    for name, value in values.items():
        limit = limits.get(name)
        flags[name] = name in found and limit is not None and value >= limit
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": values,
        "category_applied_input_types": {name: ["text"] * (name in found) for name in names},
    }


def moderation_response(
    scores: Sequence[Mapping[str, float]],
    thresholds: Mapping[str, float | None],
    model: str,
    identifier: str,
) -> dict[str, Any]:
    """The answer of `/v1/moderations`.

    Args:
      scores: of each input, as `Moderator.scores` gives them.
      thresholds: see `moderation_result`.
      model: its name.
      identifier: of the answer, such as modr-1.
    """
    results = [moderation_result(each, thresholds) for each in scores]
    return {"id": identifier, "model": model, "results": results}
