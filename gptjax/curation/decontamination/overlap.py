"""How much of evaluation sets stands in training text (GPT-3, 2005.14165, appendix C, Table C.1).

    overlaps = measure_overlap(read, sets)
    write_overlaps("report", overlaps)      # overlap.json and dirty_items.jsonl

An item is dirty if any run of N of its words stands in any training document, and clean otherwise.
"N is the 5th percentile example length in words, ignoring all punctuation, whitespace, and casing",
8 at least and 13 at most. The percentile is rounded down.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.atomic_files import write_json, write_json_lines
from gptjax.curation.batches import Mapper, batches
from gptjax.curation.decontamination.evaluation_sets import EvaluationSet
from gptjax.curation.decontamination.ngrams import NgramIndex
from gptjax.curation.decontamination.removal import nothing_to_look_up
from gptjax.curation.document import Document
from gptjax.curation.text_hashes import hash_runs, hash_words

FEWEST_WORDS, MOST_WORDS = 8, 13
PERCENTILE = 5


@dataclasses.dataclass(frozen=True)
class Overlap:
    """What of an evaluation set stands in training text.

    Attributes:
      name: of the set.
      words: N, of a run.
      items: of the set.
      looked_up: items that have a run; the others are too short, and count as clean.
      ngrams: distinct runs of the items.
      ngrams_found: of these, how many stand in training text.
      dirty: ids of the items that have one, in the set's order.
    """

    name: str
    words: int
    items: int
    looked_up: int
    ngrams: int
    ngrams_found: int
    dirty: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """A row of the table: counts, and the share of clean items."""
        counts = {key: value for key, value in dataclasses.asdict(self).items() if key != "dirty"}
        dirty = len(self.dirty)
        return {**counts, "dirty": dirty, "clean_share": 1 - dirty / self.items}


def measure_overlap(
    read: Callable[[], Iterable[Document]], sets: Sequence[EvaluationSet], mapper: Mapper = map
) -> list[Overlap]:
    """Looks for the runs of evaluation sets in training documents.

    Args:
      read: yields the training documents; called once.
      sets: to look for.
      mapper: applies a function to batches of documents, in order.

    Raises:
      ValueError: a set, or the documents, of which nothing would be looked up: none has so many
        words.
    """
    indexes = overlap_indexes(sets)
    found = [np.zeros(len(index.values), np.bool) for index in indexes]
    looked_up = np.zeros(len(indexes), np.int64)
    find = functools.partial(find_ngrams, indexes=indexes)
    for batch_found, batch_looked_up in mapper(find, batches(read())):
        looked_up += batch_looked_up
        for flags, places in zip(found, batch_found, strict=True):
            flags[places] = True
    for each, index, count in zip(sets, indexes, looked_up, strict=True):
        if not count:
            raise ValueError(
                f"evaluation set {each.name!r}: got no training document of {index.length} words, "
                "expected one at least"
            )
    return [
        overlap_of(each, index, flags)
        for each, index, flags in zip(sets, indexes, found, strict=True)
    ]


def overlap_indexes(sets: Sequence[EvaluationSet]) -> list[NgramIndex]:
    """The runs of each set, of a length of its own; a set that has none raises ValueError."""
    indexes = []
    for each in sets:
        texts = [item.text for item in each.items]
        words = words_of_a_run(hash_words(texts).counts)
        indexes.append(NgramIndex.of(texts, words))
        if not len(indexes[-1].values):
            raise nothing_to_look_up(each, words)
    return indexes


def words_of_a_run(lengths: np.ndarray) -> int:
    """N of a set, from the words of its items, int64 [items]."""
    return int(np.clip(np.percentile(lengths, PERCENTILE), FEWEST_WORDS, MOST_WORDS))


def find_ngrams(
    documents: Sequence[Document], indexes: Sequence[NgramIndex]
) -> tuple[list[np.ndarray], list[int]]:
    """For each index the places of what some documents have, and how many runs they have."""
    words = hash_words([document.text for document in documents])
    runs = {length: hash_runs(words, length) for length in {index.length for index in indexes}}
    found = [index.find_runs(runs[index.length]) for index in indexes]
    return [np.unique(each.ngrams) for each in found], [each.looked_up for each in found]


def write_overlaps(directory: str | os.PathLike[str], overlaps: Sequence[Overlap]) -> None:
    """Writes overlap.json, a row a set, and dirty_items.jsonl, a row a dirty item."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    write_json(Path(directory) / "overlap.json", [overlap.row() for overlap in overlaps])
    write_json_lines(
        Path(directory) / "dirty_items.jsonl",
        ({"set": overlap.name, "id": id} for overlap in overlaps for id in overlap.dirty),
    )


def overlap_of(evaluation: EvaluationSet, index: NgramIndex, found: np.ndarray) -> Overlap:
    """The overlap of a set, from whether each run of its index stands in training text: bool."""
    hits = np.concatenate([[0], np.cumsum(found[index.items])])
    dirty = np.diff(hits[index.offsets]) > 0
    return Overlap(
        evaluation.name,
        index.length,
        len(evaluation.items),
        int((np.diff(index.offsets) > 0).sum()),
        len(index.values),
        int(found.sum()),
        tuple(item.id for item, is_dirty in zip(evaluation.items, dirty, strict=True) if is_dirty),
    )
