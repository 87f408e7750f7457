"""Near-duplicates among documents: signatures, candidates, true similarities, clusters.

    found = near_duplicates(read, SCHEMES.get("gpt3")(), priority=["books", "web"])
    found.drops()                                            # key -> why it is dropped
    write_json_lines("pairs.jsonl", found.pair_rows())
    write_json_lines("clusters.jsonl", found.cluster_rows())

The result does not depend on the order in which documents come, nor on how they are divided: they
are compared in the order of their keys. Of a document its id, source, length and signature are kept
in memory; of one in a candidate pair its set of shingles too, 8 bytes each.

Whoever runs the first and the third step in many places puts it together from `sign`, `compared`,
`shingle_sets` of the `wanted_documents`, and `clustered`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gptjax.curation.batches import (
    Mapper,
    Name,
    batches,
    order_of_keys,
    priorities,
)
from gptjax.curation.deduplication.clusters import best_of, clusters
from gptjax.curation.deduplication.pairs import candidates, jaccard
from gptjax.curation.deduplication.scheme import MinHash
from gptjax.curation.deduplication.signatures import ShingleSets, shingle_sets, signatures
from gptjax.curation.document import Document, Dropped, document_key


@dataclasses.dataclass(frozen=True)
class Signed:
    """What is known of documents before they are compared.

    Attributes:
      names: their sources and ids.
      lengths: int64 [documents], characters.
      signatures: uint32 [documents, scheme.hashes].
    """

    names: list[Name]
    lengths: np.ndarray
    signatures: np.ndarray


@dataclasses.dataclass(frozen=True)
class Compared:
    """Candidate pairs.

    Attributes:
      order: int64 [documents], the numbers of the documents in the order of their keys.
      pairs: int64 [pairs, 2], places in that order.
      wanted: bool [documents] by number, those in a pair.
      left_out: see `Candidates`.
    """

    order: np.ndarray
    pairs: np.ndarray
    wanted: np.ndarray
    left_out: int


@dataclasses.dataclass(frozen=True)
class NearDuplicates:
    """Which documents are alike, and which of them stay.

    Attributes:
      names: sources and ids, in the order of the documents' keys.
      pairs: int64 [pairs, 2], places in `names`, ascending; pairs of the threshold or more.
      similarities: float64 [pairs], Jaccard.
      labels: int64 [documents], the first place in the document's cluster.
      keeps: bool [documents]; one document of each cluster stays.
      candidates: number of pairs whose similarity was computed.
      left_out: number of pairs that agree in a band and were not compared, see `Candidates`.
    """

    names: list[Name]
    pairs: np.ndarray
    similarities: np.ndarray
    labels: np.ndarray
    keeps: np.ndarray
    candidates: int
    left_out: int

    def pair_rows(self) -> Iterator[dict[str, Any]]:
        """A row a pair: both documents, and their similarity."""
        for (a, b), similarity in zip(self.pairs, self.similarities, strict=True):
            yield {"a": self.names[a], "b": self.names[b], "jaccard": round(float(similarity), 6)}

    def cluster_rows(self) -> Iterator[dict[str, Any]]:
        """A row a cluster of several: the document that stays, and those that do not."""
        for kept, dropped in self._clusters():
            yield {"kept": self.names[kept], "dropped": [self.names[place] for place in dropped]}

    def drops(self) -> dict[bytes, Dropped]:
        """Why documents are dropped, by their keys."""
        return {
            document_key(*self.names[place]): Dropped(
                "deduplication.near_duplicate", "in a cluster with {}: {}".format(*self.names[kept])
            )
            for kept, dropped in self._clusters()
            for place in dropped
        }

    def _clusters(self) -> Iterator[tuple[int, list[int]]]:
        sizes = np.bincount(self.labels, minlength=len(self.labels))
        members = np.flatnonzero(sizes[self.labels] > 1)
        members = members[np.argsort(self.labels[members], kind="stable")]
        bounds = np.cumsum(sizes[sizes > 1])[:-1]
        for cluster in np.split(members, bounds) if len(members) else ():
            keeps = self.keeps[cluster]
            yield int(cluster[keeps][0]), cluster[~keeps].tolist()


def near_duplicates(
    read: Callable[[], Iterable[Document]],
    scheme: MinHash,
    priority: Sequence[str],
    mapper: Mapper = map,
) -> NearDuplicates:
    """Finds the near-duplicates among documents.

    Args:
      read: yields the documents; called twice, for the same ones in the same order.
      scheme: of signatures, pairs and threshold.
      priority: names of all corpora; of a cluster, a document of the first of them stays.
      mapper: applies a function to batches of documents, in order: `map`, or that of a pool.

    Raises:
      ValueError: no documents, two of one source and id, a source that `priority` does not name, or
        other documents the second time.
    """
    signed = joined(mapper(functools.partial(sign, scheme=scheme), batches(read())), scheme)
    found = compared(signed, scheme)
    again = batches(wanted_documents(read(), signed, found))
    sets = mapper(functools.partial(_sets, scheme=scheme), again)
    return clustered(signed, found, sets, scheme, priority)


def sign(documents: Sequence[Document], scheme: MinHash) -> Signed:
    """The first step, of some documents."""
    return Signed(
        [(document.source, document.id) for document in documents],
        np.array([len(document.text) for document in documents], np.int64),
        signatures([document.text for document in documents], scheme),
    )


def joined(parts: Iterable[Signed], scheme: MinHash) -> Signed:
    """All documents of `parts`."""
    names: list[Name] = []
    lengths, rows = [np.zeros(0, np.int64)], [np.zeros((0, scheme.hashes), np.uint32)]
    for part in parts:
        names += part.names
        lengths.append(part.lengths)
        rows.append(part.signatures)
    return Signed(names, np.concatenate(lengths), np.concatenate(rows))


def compared(signed: Signed, scheme: MinHash) -> Compared:
    """The second step: pairs whose similarity is to be computed."""
    order = order_of_keys("near-duplicates", signed.names)
    found = candidates(signed.signatures[order], scheme)
    wanted = np.zeros(len(order), np.bool)
    wanted[order[found.pairs]] = True
    return Compared(order, found.pairs, wanted, found.left_out)


def clustered(
    signed: Signed,
    found: Compared,
    sets: Iterable[ShingleSets],
    scheme: MinHash,
    priority: Sequence[str],
) -> NearDuplicates:
    """The last step.

    Args:
      signed, found: of all documents.
      sets: of the documents in `found.wanted`, in the order of their numbers.
      scheme: as before.
      priority: see `near_duplicates`.
    """
    numbers = np.cumsum(found.wanted) - 1
    left, right = numbers[found.order[found.pairs]].T
    similarities = jaccard(ShingleSets.joined(sets), left, right)
    alike = similarities >= scheme.threshold
    pairs = found.pairs[alike]
    labels = clusters(len(found.order), pairs)
    names = [signed.names[number] for number in found.order]
    keeps = best_of(
        labels, priorities("near-duplicates", names, priority), signed.lengths[found.order]
    )
    return NearDuplicates(
        *(names, pairs, similarities[alike], labels, keeps, len(alike), found.left_out)
    )


def wanted_documents(
    documents: Iterable[Document], signed: Signed, found: Compared
) -> Iterator[Document]:
    """Those whose shingles are compared, for the third step.

    Raises:
      ValueError: `documents` are not those of the first step, in the same order.
    """
    count = 0
    for number, document in enumerate(documents):
        count += 1
        if number >= len(signed.names) or (document.source, document.id) != signed.names[number]:
            break
        if found.wanted[number]:
            yield document
    else:
        if count == len(signed.names):
            return
    raise ValueError(
        f"near-duplicates: document {count} is another the second time; expected the same "
        f"{len(signed.names)} documents in the same order"
    )


def _sets(documents: Sequence[Document], scheme: MinHash) -> ShingleSets:
    return shingle_sets([document.text for document in documents], scheme)
