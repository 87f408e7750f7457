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
from gptjax.curation.phases.deaths import Deaths
from gptjax.curation.phases.reading import deadly, quarantined
from gptjax.curation.pipeline.documents import halves, text_digest
from gptjax.curation.pipeline.work import DropLog, Run, rows_left, task_file
from gptjax.data.corpora.groups import in_groups
from gptjax.data.prepared.index import token_dtype
from gptjax.data.prepared.shard_files import ShardDocument, write_shard
from gptjax.tokenization import Tokenizer, load_tokenizer

PHASE = "shards"
SPLITS = ("train", "validation")
Made = tuple[Document, list[ShardDocument] | Dropped, list[Document]]


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
    with Deaths(task_file(folder, PHASE, f"{plan.name}.deaths")) as deaths:
        for group in in_groups(_documents(folder, plan)):
            made = _made_beside(deaths, cutter, tokenizer, group, counts["documents"])
            counts["documents"] += len(group)
            for document, encoded, _ in made:
                if isinstance(encoded, Dropped):
                    log.add(plan.source, document.id, encoded, document.text)
                    continue
                counts["kept"] += 1
                counts["pieces"] += len(encoded)
                first, stop = plan.held_out
                held_out = first <= halves(text_digest(document.text))[0] < stop
                splits[SPLITS[held_out]] += encoded
            found = cutter.overlap([piece for _, _, pieces in made for piece in pieces])
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


def _made_beside(
    deaths: Deaths, cutter: Cutter, tokenizer: Tokenizer, group: list[Document], first: int
) -> list[Made]:
    """`_made` of a group whose documents have numbers from `first` on.

    Where an attempt died in the group, they are made one by one, but for one that died then, too.
    """
    whole = ~first  # the group's number, which is no document's
    if not deaths.count(whole):
        with deaths.at(whole):
            return _made(cutter, tokenizer, group)
    made: list[Made] = []
    for number, document in enumerate(group, first):
        if deaths.count(number):
            made.append((document, deadly("sharding"), []))
        else:
            with deaths.at(number):
                made += _made(cutter, tokenizer, [document])
    return made


def _made(cutter: Cutter, tokenizer: Tokenizer, documents: list[Document]) -> list[Made]:
    """Of each document its pieces and their tokens, or why it has none."""
    cut = list(zip(documents, _cut(cutter, documents), strict=True))
    left = [(document, pieces) for document, pieces in cut if not isinstance(pieces, Dropped)]
    encoded = iter(_encoded(tokenizer, left))
    return [
        (document, pieces, []) if isinstance(pieces, Dropped) else (document, next(encoded), pieces)
        for document, pieces in cut
    ]


def _cut(cutter: Cutter, documents: list[Document]) -> list[list[Document] | Dropped]:
    try:
        return cutter.pieces(documents)
    except Exception as error:  # a document that no stage was written for must not end the others
        if len(documents) == 1:
            return [quarantined("cutting", error)]
        return [piece for document in documents for piece in _cut(cutter, [document])]


def _encoded(
    tokenizer: Tokenizer, cut: Sequence[tuple[Document, list[Document]]]
) -> Iterator[list[ShardDocument] | Dropped]:
    """The tokens of the pieces of each document."""
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
            yield [_shard_document(tokenizer, document, *each) for each in made]
        except Exception as error:  # as of cutting
            yield quarantined("tokenising", error)


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


@functools.cache
def _tokenizer(directory: str) -> Tokenizer:
    return load_tokenizer(directory)
