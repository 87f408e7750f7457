"""The last phase: what is left of a source becomes tokens, in shards by ranges of the key.

A shard holds the documents whose keys lie in its range, in their order: its bytes depend on the
documents alone, whoever writes it and whatever ran before.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.curation.document import Document, Dropped
from gptjax.curation.phases.cutting import Cutter
from gptjax.curation.phases.reading import QUARANTINE
from gptjax.curation.pipeline.documents import halves, text_digest
from gptjax.curation.pipeline.work import DropLog, Run, rows_left
from gptjax.data.corpora.groups import in_groups
from gptjax.data.prepared.index import token_dtype
from gptjax.data.prepared.shard_files import ShardDocument, write_shard
from gptjax.tokenization import Tokenizer, load_tokenizer

PHASE = "shards"
SPLITS = ("train", "validation")


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """A range of the keys of a source.

    Attributes:
      source: name.
      number: of the range, of `parts` equal ones.
      parts: how many ranges there are.
      runs: names of the runs of the source.
      before: phases that dropped documents.
      held_out: first and stop of a range; a document is held out whose text's hash, as 64 bits, is
        in it.
    """

    source: str
    number: int
    parts: int
    runs: tuple[str, ...]
    before: tuple[str, ...]
    held_out: tuple[int, int]

    @property
    def name(self) -> str:
        """Of its task."""
        return f"{self.source}-{self.number:05}"


def write_part(output: str, plan: ShardPlan, cutter: Cutter) -> dict[str, Any]:
    """Writes both splits of a shard; returns their entries, and what became of the documents."""
    folder = Path(output)
    tokenizer = _tokenizer(str(folder / "tokenizer"))
    log = DropLog(folder, PHASE, plan.name)
    counts = {"documents": 0, "kept": 0, "pieces": 0}
    splits: dict[str, list[ShardDocument]] = {split: [] for split in SPLITS}
    overlap: list[set[int]] = []
    for group in in_groups(_documents(folder, plan)):
        counts["documents"] += len(group)
        cut = list(zip(group, _cut(cutter, group), strict=True))
        for document, pieces in cut:
            if isinstance(pieces, Dropped):
                log.add(plan.source, document.id, pieces, document.text)
        left = [(document, pieces) for document, pieces in cut if not isinstance(pieces, Dropped)]
        for document, encoded in _encoded(tokenizer, left):
            if isinstance(encoded, Dropped):
                log.add(plan.source, document.id, encoded, document.text)
                continue
            counts["kept"] += 1
            counts["pieces"] += len(encoded)
            first, stop = plan.held_out
            held_out = first <= halves(text_digest(document.text))[0] < stop
            splits[SPLITS[held_out]] += encoded
        found = cutter.overlap([piece for _, pieces in left for piece in pieces])
        overlap = overlap or [set() for _ in found]
        for places, here in zip(overlap, found, strict=False):
            places.update(here)
    dtype = token_dtype(tokenizer.vocab_size)
    entries = [
        write_shard(folder, f"{split}/{plan.name}", documents, dtype, tokenizer.end_of_text)
        for split, documents in splits.items()
        if documents
    ]
    dropped = log.finish()
    assert counts["documents"] == counts["kept"] + sum(dropped.values())
    return {
        **counts,
        "dropped": dropped,
        "entries": [vars(entry) for entry in entries],
        "overlap": [sorted(places) for places in overlap],
    }


def _documents(folder: Path, plan: ShardPlan) -> Iterator[Document]:
    """The documents of a range that are left, in the order of their keys."""
    first, stop = ((1 << 64) * bound // plan.parts for bound in (plan.number, plan.number + 1))
    found, opened = [], []
    for number, run in enumerate(Run(name, plan.source) for name in plan.runs):
        opened.append(run.open(folder))
        table = opened[-1].table
        rows = np.intersect1d(
            opened[-1].between(first, stop), rows_left(folder, plan.before, run), assume_unique=True
        )
        here = np.zeros((len(rows), 5), np.uint64)
        for column, field in enumerate(("key_high", "key_low", "digest_high")):
            here[:, column] = table[field][rows]
        here[:, 3], here[:, 4] = number, rows
        found.append(here)
    order = np.concatenate([np.zeros((0, 5), np.uint64), *found])
    order = order[np.lexsort(order[:, :3].T[::-1])]
    for number, row in order[:, 3:].astype(np.int64).tolist():
        yield from opened[number].documents(plan.source, [row])


def _cut(cutter: Cutter, documents: list[Document]) -> list[list[Document] | Dropped]:
    try:
        return cutter.pieces(documents)
    except Exception as error:  # a document that no stage was written for must not end the others
        if len(documents) == 1:
            return [_quarantined("cutting", error)]
        return [piece for document in documents for piece in _cut(cutter, [document])]


def _encoded(
    tokenizer: Tokenizer, cut: Sequence[tuple[Document, list[Document]]]
) -> Iterator[tuple[Document, list[ShardDocument] | Dropped]]:
    """The tokens of the pieces of documents."""
    texts = [piece.text for _, pieces in cut for piece in pieces]
    try:
        tokens = iter(tokenizer.encode_batch(texts))
    except Exception:  # one of them is to blame, and is found below
        tokens = None
    for document, pieces in cut:
        try:
            encoded = (
                tokenizer.encode_batch([piece.text for piece in pieces])
                if tokens is None
                else [next(tokens) for _ in pieces]
            )
            made = zip(pieces, encoded, strict=True)
            yield document, [_shard_document(tokenizer, document, *each) for each in made]
        except Exception as error:  # as of cutting
            yield document, _quarantined("tokenising", error)


def _shard_document(
    tokenizer: Tokenizer, document: Document, piece: Document, tokens: np.ndarray
) -> ShardDocument:
    about: dict[str, Any] = {"id": piece.id}
    if piece.licence is not None:
        about["licence"] = piece.licence
    if piece.metadata:
        about["metadata"] = dict(piece.metadata)
    size = len(piece.text.encode())
    decoded = size if tokenizer.keeps_text else tokenizer.decoded_bytes(tokens)
    return ShardDocument(document.key, about, size, decoded, tokens)


def _quarantined(stage: str, error: Exception) -> Dropped:
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return Dropped(f"{QUARANTINE}.{stage}", said[:300])


@functools.cache
def _tokenizer(directory: str) -> Tokenizer:
    return load_tokenizer(directory)
