"""Recall and precision of a banding on a user's own texts, in which near-duplicates are planted.

    measured = measure_recall(texts, SCHEMES.get("gpt3")(), seed=0)
    plot_recall(measured, "recall.png")

A text is planted again with its last words changed, as many as give a pair a Jaccard similarity of
0.5, 0.55, ... 0.95. What a banding finds of them has an expectation: 1 - (1 - s^rows)^bands.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from gptjax.curation.batches import MOST_DOCUMENTS
from gptjax.curation.deduplication.pairs import candidates, jaccard
from gptjax.curation.deduplication.scheme import MinHash
from gptjax.curation.deduplication.signatures import ShingleSets, shingle_sets, signatures

SIMILARITIES = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_SHORTEST = 100  # shingles of a text that is planted: its similarities are to a hundredth


@dataclasses.dataclass(frozen=True)
class AtSimilarity:
    """What became of the pairs of about one similarity.

    Attributes:
      similarity: their mean Jaccard similarity, of the shingles as they are.
      pairs: that were planted.
      found: of these, those that are candidates.
      expected: share of them that the banding finds on the average.
    """

    similarity: float
    pairs: int
    found: int
    expected: float

    @property
    def recall(self) -> float:
        """Share of the pairs that are candidates."""
        return self.found / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the recall, Wilson's."""
        from scipy import stats  # takes a second

        found = stats.binomtest(self.found, self.pairs).proportion_ci(method="wilson")
        return found.low, found.high


@dataclasses.dataclass(frozen=True)
class MeasuredRecall:
    """Recall and precision among texts and their planted near-duplicates.

    Attributes:
      scheme: that was measured.
      rows: by similarity, ascending.
      candidates: pairs that agree in a band, planted or not.
      candidate_precision: share of them that are duplicates: of the threshold or more.
      recall: share of the planted duplicates that are found; they are then all kept, since the true
        similarity decides, and nothing else is: of what is kept the precision is 1.
      expected_recall: of the latter, on the average.
    """

    scheme: MinHash
    rows: tuple[AtSimilarity, ...]
    candidates: int
    candidate_precision: float
    recall: float
    expected_recall: float

    def row(self) -> dict[str, Any]:
        """All figures, for JSON."""
        rows = [
            {**dataclasses.asdict(row), "recall": row.recall, "interval": row.interval}
            for row in self.rows
        ]
        return {**dataclasses.asdict(self), "rows": rows}


def measure_recall(
    texts: Sequence[str],
    scheme: MinHash,
    similarities: Sequence[float] = SIMILARITIES,
    seed: int = 0,
) -> MeasuredRecall:
    """Plants near-duplicates among texts and counts those that are found.

    Args:
      texts: of which each is planted once, at one of the similarities in turn; those of under 100
        shingles are left out.
      scheme: of the banding.
      similarities: that are planted, 0 < s < 1.
      seed: of the words that are changed.

    Raises:
      ValueError: fewer texts than similarities are long enough.
    """
    words = [text.split() for text in texts]
    long = [each for each in words if len(each) >= _SHORTEST + scheme.shingle_words - 1]
    if len(long) < len(similarities):
        raise ValueError(
            f"recall: got {len(long)} texts of {_SHORTEST} shingles or more, expected at least "
            f"{len(similarities)}, one for each similarity"
        )
    rng = np.random.default_rng(seed)
    planted = [
        _planted(each, similarities[place % len(similarities)], scheme.shingle_words, rng)
        for place, each in enumerate(long)
    ]
    pool = [" ".join(each) for each in (*long, *planted)]
    found = candidates(signatures(pool, scheme), scheme).pairs
    sets = ShingleSets.joined(
        shingle_sets(pool[start : start + MOST_DOCUMENTS], scheme)
        for start in range(0, len(pool), MOST_DOCUMENTS)
    )
    originals = np.arange(len(long))
    true = jaccard(sets, originals, originals + len(long))
    is_candidate = np.zeros(len(long), np.bool)
    is_candidate[found[found[:, 1] == found[:, 0] + len(long), 0]] = True
    expected = scheme.probability(true)
    duplicates = true >= scheme.threshold
    rows = []
    for place in range(len(similarities)):
        here = originals % len(similarities) == place
        rows.append(
            AtSimilarity(
                float(true[here].mean()),
                int(here.sum()),
                int(is_candidate[here].sum()),
                float(expected[here].mean()),
            )
        )
    all_true = jaccard(sets, found[:, 0], found[:, 1])
    return MeasuredRecall(
        scheme,
        tuple(rows),
        len(found),
        float(np.mean(all_true >= scheme.threshold)),
        float(is_candidate[duplicates].mean()),
        float(expected[duplicates].mean()),
    )


def plot_recall(measured: MeasuredRecall, path: str | os.PathLike[str]) -> None:
    """Draws measured recall, with 95% intervals, beside the banding's curve, 1,200 x 880 pixels."""
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    scheme, rows = measured.scheme, measured.rows
    figure = Figure(figsize=(7.5, 5.5), dpi=160, layout="constrained")
    axes = figure.subplots()
    curve = np.linspace(0, 1, 201)
    label = f"1 - (1 - s^{scheme.rows})^{scheme.bands}"
    axes.plot(curve, scheme.probability(curve), linewidth=1.8, label=label)
    recalls = np.array([row.recall for row in rows])
    errors = np.abs(np.array([row.interval for row in rows]).T - recalls)
    axes.errorbar(
        [row.similarity for row in rows],
        recalls,
        yerr=errors,
        fmt="o",
        markersize=4,
        capsize=3,
        color="#222222",
        label=f"measured on {sum(row.pairs for row in rows):,} planted pairs",
    )
    axes.axvline(
        scheme.threshold,
        color="#999999",
        linestyle="--",
        linewidth=1,
        label=f"duplicates from {scheme.threshold:g} on: recall {measured.recall:.1%} (expected "
        f"{measured.expected_recall:.1%});\nprecision of candidates "
        f"{measured.candidate_precision:.1%}, of what is kept of them 100%",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_xlabel("Jaccard similarity of a pair")
    axes.set_ylabel("share of pairs that are candidates")
    axes.set_title(
        f"{scheme.bands} bands of {scheme.rows}, shingles of {scheme.shingle_words} words"
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", frameon=False)
    figure.savefig(path)


def _planted(
    words: Sequence[str], similarity: float, length: int, rng: np.random.Generator
) -> list[str]:
    """The words with the last d of n shingles changed, so that (n - d) / (n + d) = similarity."""
    shingles = len(words) - length + 1
    changed = round(shingles * (1 - similarity) / (1 + similarity))
    new = [f"new{number:x}" for number in rng.integers(1 << 60, size=changed)]
    return [*words[: len(words) - changed], *new]
