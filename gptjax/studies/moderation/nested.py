"""Nested cross-validation: every row is scored by models that never saw it, thresholds included.

found = nested(plan, system_of_runs, prompts)
found.scores, found.flags      # of all rows, out of fold

The rows are divided into folds by a hash of their texts. Each outer fold is scored by the mean of
members. Of a member, one inner fold chooses what is chosen (here the checkpoint, or the strength of
regularisation), and the other folds are learned from. The inner folds, scored by their members,
choose the thresholds with which the outer fold is flagged. Source of the scheme: Varma and Simon
2006 (BMC Bioinformatics 7:91).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.multilabel import LabelledText
from gptjax.tasks.moderation.report import chosen_thresholds

Predict = Callable[[Sequence[str]], np.ndarray]  # texts -> probabilities [N, C]
System = Callable[[int, int], Predict]  # (outer fold, inner fold) -> a member


@dataclasses.dataclass(frozen=True)
class Plan:
    """The rows and their folds.

    Attributes:
      texts: all rows.
      categories: C names.
      folds: outer folds.
      inner: how many of the other folds choose, in turn; as many members score an outer fold.
      precision: at which thresholds are chosen.
    """

    texts: Records[LabelledText]
    categories: tuple[str, ...]
    folds: int
    inner: int
    precision: float

    def __post_init__(self):
        if not 1 <= self.inner < self.folds - 1:
            raise ValueError(
                f"--inner: got {self.inner} with --folds={self.folds}, expected 1 to "
                f"{self.folds - 2}, so that there are folds left to learn from"
            )
        missing = sorted(set(range(self.folds)) - set(self.fold_of.tolist()))
        if missing:
            raise ValueError(
                f"--folds: got {self.folds}, of which {', '.join(map(str, missing))} have none of "
                f"the {len(self.texts)} rows, expected fewer folds"
            )

    @property
    def fold_of(self) -> np.ndarray:
        """The fold of each row, [N] int64."""
        return np.array([text.fold(self.folds) for text in self.texts])

    @property
    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels [N, C] float64, 0 where unknown, and whether they are known."""
        given = np.array([text.labels for text in self.texts], np.float64)
        return np.nan_to_num(given), ~np.isnan(given)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Every outer fold with each of its inner folds."""
        for outer in range(self.folds):
            for step in range(1, self.inner + 1):
                yield outer, (outer + step) % self.folds

    def learned(self, outer: int, inner: int) -> tuple[int, ...]:
        """The folds that a member learns from."""
        return tuple(fold for fold in range(self.folds) if fold not in (outer, inner))


@dataclasses.dataclass(frozen=True)
class Found:
    """What a system says.

    Attributes:
      scores: [N, C] probabilities of the rows, out of fold.
      flags: [N, C] bool, by the thresholds of their folds.
      thresholds: of each outer fold, by category; None: nothing is flagged.
      prompt_flags: [K, P, C] bool, further texts by the members and thresholds of each outer fold.
    """

    scores: np.ndarray
    flags: np.ndarray
    thresholds: list[dict[str, float | None]]
    prompt_flags: np.ndarray


def nested(plan: Plan, system: System, prompts: Sequence[str]) -> Found:
    """Scores all rows, and `prompts`, by a system; see the module."""
    fold_of, (labels, known) = plan.fold_of, plan.labels
    texts = [text.text for text in plan.texts]
    count = len(plan.categories)
    scores, flags = np.zeros((len(texts), count)), np.zeros((len(texts), count), bool)
    thresholds: list[dict[str, float | None]] = []
    prompt_flags = np.zeros((plan.folds, len(prompts), count), bool)
    for outer in range(plan.folds):
        held = np.flatnonzero(fold_of == outer)
        of_held, of_prompts, of_inner, chosen_by = [], [], [], []
        for inner in (inner for first, inner in plan.pairs() if first == outer):
            choosing = np.flatnonzero(fold_of == inner)
            asked = [texts[i] for i in (*held, *choosing)] + list(prompts)
            said = system(outer, inner)(asked)
            ends = [len(held), len(held) + len(choosing)]
            for kept, part in zip(
                (of_held, of_inner, of_prompts), np.split(said, ends), strict=True
            ):
                kept.append(part)
            chosen_by.append(choosing)
        rows = np.concatenate(chosen_by)
        chosen = chosen_thresholds(
            np.concatenate(of_inner), labels[rows], known[rows], plan.categories, plan.precision
        )
        at = np.array([np.inf if x is None else x for x in chosen.values()])
        scores[held] = np.mean(of_held, axis=0)
        flags[held] = scores[held] >= at
        prompt_flags[outer] = np.mean(of_prompts, axis=0) >= at
        thresholds.append(chosen)
    return Found(scores, flags, thresholds, prompt_flags)
