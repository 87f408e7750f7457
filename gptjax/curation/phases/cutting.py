"""What is cut out of documents that stay: repeated paragraphs and evaluation text.

    cutter = look_for(work, config, runs, priority, before)
    cutter.pieces(documents)      # of each the documents that it becomes, or why it becomes none

What is looked for is found once and lies in a file, which every process that cuts reads.
"""

import dataclasses
import functools
import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.atomic_files import replaced
from gptjax.curation.batches import batches
from gptjax.curation.decontamination.config import RemovalConfig
from gptjax.curation.decontamination.evaluation_sets import EvaluationSet, load_evaluation_sets
from gptjax.curation.decontamination.ngrams import NgramIndex
from gptjax.curation.decontamination.overlap import (
    find_ngrams,
    overlap_indexes,
    overlap_of,
    write_overlaps,
)
from gptjax.curation.decontamination.removal import (
    Removal,
    count_documents,
    removal_index,
)
from gptjax.curation.deduplication.exact import RepeatedPieces, repeated_pieces
from gptjax.curation.document import Document, Dropped
from gptjax.curation.executors.tasks import Task
from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.curation.pipeline.work import Run, Work, rows_left

PARAGRAPHS, CONTAMINATION = "paragraphs", "contamination"
SHORTEST_PARAGRAPH = 1  # characters


@dataclasses.dataclass(frozen=True)
class Cutter:
    """Cuts documents into what may be trained on.

    Attributes:
      paragraphs: file of the `RepeatedPieces`; None: paragraphs stay.
      contamination: file of the `Contamination`; None: nothing is looked for.
    """

    paragraphs: str | None
    contamination: str | None

    def pieces(self, documents: Sequence[Document]) -> list[list[Document] | Dropped]:
        """The documents that each document becomes, or why it becomes none."""
        cut: list[Document | Dropped] = [*documents]
        if self.paragraphs is not None:
            repeated: RepeatedPieces = _loaded(self.paragraphs)
            cut = [repeated.cut(document) for document in documents]
        left = [document for document in cut if isinstance(document, Document)]
        pieces: Iterator[list[Document] | Dropped] = iter([[document] for document in left])
        if self.contamination is not None:
            found: Contamination = _loaded(self.contamination)
            pieces = iter(found.removal.cut_all(left))
        return [one if isinstance(one, Dropped) else next(pieces) for one in cut]

    def overlap(self, documents: Sequence[Document]) -> list[list[int]]:
        """For each evaluation set the numbers of its runs of words that are in documents."""
        if self.contamination is None or not documents:
            return []
        found, _ = find_ngrams(documents, _loaded(self.contamination).indexes)
        return [places.tolist() for places in found]


@dataclasses.dataclass(frozen=True)
class Contamination:
    """What of evaluation sets is looked for.

    Attributes:
      sets: the evaluation sets.
      removal: of the runs of words that are cut out.
      indexes: of each set, of the runs by which its items are dirty.
    """

    sets: list[EvaluationSet]
    removal: Removal
    indexes: list[NgramIndex]


def look_for(
    work: Work, config: PrepareConfig, runs: list[Run], priority: list[str], before: tuple[str, ...]
) -> Cutter:
    """Finds what is to be cut out of the documents that are left.

    Args:
      work: what runs tasks.
      config: of the preparation.
      runs: of all sources.
      priority: names of all sources; a paragraph stays in the first of them.
      before: phases that dropped documents.

    Raises:
      ValueError: an evaluation set that cannot be read, or of which nothing would be looked up.
    """
    output = str(work.output)
    named = [(run.name, run.source) for run in runs]
    given = {"output": output, "runs": named, "before": before}
    paragraphs = contamination = None
    if config.deduplication.paragraphs and runs:
        paragraphs = str(_file(work.output, PARAGRAPHS, "all"))
        find = Task("all", f"{__name__}:find_paragraphs", given | {"priority": priority})
        work.run(PARAGRAPHS, [find])
    section = config.decontamination
    if section.sets and runs:
        contamination = str(_file(work.output, CONTAMINATION, "all"))
        index = {"output": output, "sets": section.sets, "removal": section.removal}
        work.run(f"{CONTAMINATION}_index", [Task("all", f"{__name__}:index_sets", index)])
        count = [
            Task(name, f"{__name__}:count_run", {"output": output, "run": run, "before": before})
            for name, run in zip((name for name, _ in named), named, strict=True)
        ]
        if not sum(work.run(f"{CONTAMINATION}_count", count)):
            raise ValueError(
                "decontamination.sets: got no document that is as long as "
                f"{section.removal.words} words, expected one at least to look up"
            )
        names = {"output": output, "runs": named}
        work.run(CONTAMINATION, [Task("all", f"{__name__}:add_counts", names)])
    return Cutter(paragraphs, contamination)


def find_paragraphs(
    output: str, runs: list[tuple[str, str]], before: tuple[str, ...], priority: list[str]
) -> int:
    """Finds paragraphs that stand in several places; returns how many paragraphs there are."""
    folder = Path(output)

    def read() -> Iterator[Document]:
        for run in (Run(*each) for each in runs):
            yield from _left(folder, run, before)

    found = repeated_pieces(read, "paragraph", priority, SHORTEST_PARAGRAPH)
    _save(_file(folder, PARAGRAPHS, "all"), found)
    return found.pieces


def index_sets(output: str, sets: tuple[str, ...], removal: RemovalConfig) -> dict[str, int]:
    """Reads the evaluation sets; returns the items of each."""
    loaded = load_evaluation_sets(sets)
    index = removal_index(loaded, removal)
    empty = Removal(removal, index, np.zeros(len(index.values), np.int64))
    found = Contamination(loaded, empty, overlap_indexes(loaded))
    _save(_file(Path(output), f"{CONTAMINATION}_index", "all"), found)
    return {each.name: len(each.items) for each in loaded}


def count_run(output: str, run: tuple[str, str], before: tuple[str, ...]) -> int:
    """Counts a run's documents that have each run of words; returns how many were looked up."""
    folder = Path(output)
    index = _loaded(str(_file(folder, f"{CONTAMINATION}_index", "all"))).removal.index
    counts, looked_up = np.zeros(len(index.values), np.int64), 0
    for batch in batches(_left(folder, Run(*run), before)):
        of_batch, of_words = count_documents(batch, index)
        counts, looked_up = counts + of_batch, looked_up + of_words
    _save(_file(folder, f"{CONTAMINATION}_count", run[0]), counts)
    return looked_up


def add_counts(output: str, runs: list[tuple[str, str]]) -> int:
    """Adds the counts of all runs up; returns how many runs of words there are."""
    folder = Path(output)
    found: Contamination = _loaded(str(_file(folder, f"{CONTAMINATION}_index", "all")))
    counts = sum(_loaded(str(_file(folder, f"{CONTAMINATION}_count", name))) for name, _ in runs)
    removal = dataclasses.replace(found.removal, counts=counts)
    _save(_file(folder, CONTAMINATION, "all"), dataclasses.replace(found, removal=removal))
    return len(found.removal.index.values)


def measured(
    output: Path, cutter: Cutter, overlaps: Iterable[list[list[int]]]
) -> list[dict[str, Any]]:
    """How much of each evaluation set is left in the shards; writes the table and dirty items.

    Args:
      output: the folder of the preparation.
      cutter: of it.
      overlaps: what `Cutter.overlap` found in each shard.
    """
    if cutter.contamination is None:
        return []
    known: Contamination = _loaded(cutter.contamination)
    found = [np.zeros(len(index.values), bool) for index in known.indexes]
    for of_shard in overlaps:
        for flags, places in zip(found, of_shard, strict=True):
            flags[places] = True
    measures = [
        overlap_of(each, index, flags)
        for each, index, flags in zip(known.sets, known.indexes, found, strict=True)
    ]
    write_overlaps(output / "contamination", measures)
    return [measure.row() for measure in measures]


def _left(folder: Path, run: Run, before: tuple[str, ...]) -> Iterator[Document]:
    return run.open(folder).documents(run.source, rows_left(folder, before, run))


def _file(folder: Path, phase: str, name: str) -> Path:
    return folder / "work" / phase / f"{name}.pickle"


def _save(path: Path, value: Any) -> None:
    with replaced(path, "wb") as file:
        pickle.dump(value, file)


@functools.lru_cache(maxsize=4)
def _loaded(path: str) -> Any:
    return pickle.loads(Path(path).read_bytes())
