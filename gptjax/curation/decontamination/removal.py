"""Evaluation text cut out of training documents (GPT-3, 2005.14165, appendix C).

    removal = prepare_removal(read, sets, RemovalConfig())
    pieces = removal.cut(document)      # documents, or why it is dropped

"we removed the colliding 13-gram as well as a 200 character window around it, splitting the
original document into pieces [...] Pieces less than 200 characters long were discarded. Documents
split into more than 10 pieces were considered contaminated and removed entirely. [...] We ignored
13-grams that matched more than 10 training documents".

Documents are read twice, by each step in any order and division: the first counts, for each run of
evaluation words, the documents that have it; counts add up.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from gptjax.curation.batches import Mapper, batches
from gptjax.curation.decontamination.config import RemovalConfig
from gptjax.curation.decontamination.evaluation_sets import EvaluationSet
from gptjax.curation.decontamination.ngrams import NgramIndex
from gptjax.curation.document import Document, Dropped
from gptjax.curation.text_hashes import word_spans


@dataclasses.dataclass(frozen=True)
class Removal:
    """What is cut out of documents.

    Attributes:
      config: the rules.
      index: the runs of the evaluation sets.
      counts: int64 [ngrams], documents that have each.
    """

    config: RemovalConfig
    index: NgramIndex
    counts: np.ndarray

    def cut(self, document: Document) -> list[Document] | Dropped:
        """The pieces of a document, or the document itself where nothing collides.

        The id of a piece is that of the document, "@", and the character it begins with.
        """
        return self.cut_all([document])[0]

    def cut_all(self, documents: Sequence[Document]) -> list[list[Document] | Dropped]:
        """As `cut`, of several documents: faster than one by one."""
        found = self.index.find([document.text for document in documents])
        removed = self.counts[found.ngrams] <= self.config.most_documents
        texts, words = found.texts[removed], found.words[removed]
        cut: list[list[Document] | Dropped] = [[document] for document in documents]
        for number in np.unique(texts):
            spans = word_spans(documents[number].text)
            first = words[texts == number]
            collisions = np.stack([spans[first, 0], spans[first + self.config.words - 1, 1]], 1)
            cut[number] = self._pieces(documents[number], collisions)
        return cut

    def _pieces(self, document: Document, collisions: np.ndarray) -> list[Document] | Dropped:
        """What collisions leave of a document: int64 [collisions, 2], where they begin and end."""
        config, text = self.config, document.text
        pieces, start = [], 0
        for begin, end in _merged(collisions + np.array([-config.window, config.window])):
            if begin > start:
                pieces.append((start, begin))
            start = end
        if start < len(text):
            pieces.append((start, len(text)))
        if len(pieces) > config.most_pieces:
            said = f"split into {len(pieces)} pieces, expected at most {config.most_pieces}"
            return Dropped("decontamination.split", said)
        kept = [(begin, end) for begin, end in pieces if end - begin >= config.shortest]
        if not kept:
            said = f"no piece of {config.shortest} characters left by {len(collisions)} collisions"
            return Dropped("decontamination.short_pieces", said)
        return [
            dataclasses.replace(document, id=f"{document.id}@{begin}", text=text[begin:end])
            for begin, end in kept
        ]


def prepare_removal(
    read: Callable[[], Iterable[Document]],
    sets: Sequence[EvaluationSet],
    config: RemovalConfig,
    mapper: Mapper = map,
) -> Removal:
    """Counts the documents that have each run of the evaluation sets.

    Args:
      read: yields all training documents, of every corpus.
      sets: what they are cleaned of.
      config: the rules.
      mapper: applies a function to batches of documents, in order.

    Raises:
      ValueError: no sets; a set, or the documents, without a run of so many words, of which nothing
        would have been looked up.
    """
    index = removal_index(sets, config)
    counts, looked_up = np.zeros(len(index.values), np.int64), 0
    for batch_counts, batch_looked_up in mapper(
        functools.partial(count_documents, index=index), batches(read())
    ):
        counts += batch_counts
        looked_up += batch_looked_up
    if not looked_up:
        raise ValueError(
            f"decontamination: got no training document of {config.words} words, expected one at "
            "least"
        )
    return Removal(config, index, counts)


def removal_index(sets: Sequence[EvaluationSet], config: RemovalConfig) -> NgramIndex:
    """The runs of all sets; a set that has none raises ValueError."""
    if not sets:
        raise ValueError("decontamination: got no evaluation sets, expected one at least")
    for each in sets:
        if not len(NgramIndex.of([item.text for item in each.items], config.words).values):
            raise nothing_to_look_up(each, config.words)
    return NgramIndex.of([item.text for each in sets for item in each.items], config.words)


def nothing_to_look_up(evaluation: EvaluationSet, words: int) -> ValueError:
    """The error for a set whose items are all too short."""
    return ValueError(
        f"evaluation set {evaluation.name!r}: none of its {len(evaluation.items)} items has "
        f"{words} words, so that nothing of it would be looked up; expected one at least"
    )


def count_documents(documents: Sequence[Document], index: NgramIndex) -> tuple[np.ndarray, int]:
    """How many of some documents have each run, int64 [ngrams]; and how many runs they have."""
    found = index.find([document.text for document in documents])
    size = len(index.values)
    distinct = np.unique(found.texts * size + found.ngrams) % size
    return np.bincount(distinct, minlength=size), found.looked_up


def _merged(spans: np.ndarray) -> list[tuple[int, int]]:
    """Spans in order of their starts as spans that do not touch."""
    merged: list[tuple[int, int]] = []
    for begin, end in spans.tolist():
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged
