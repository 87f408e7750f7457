"""A look into prepared data: documents by id, packed rows, histograms, duplicates, drops.

opened, tokenizer = open_prepared("DIR"), load_tokenizer("DIR/tokenizer")
for document in documents_by_id(opened, tokenizer, ["books: pride.txt"]):
    print(document.text)
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.curation.pipeline.work import dropped_rows
from gptjax.data.prepared.ledger import mixed_passages
from gptjax.data.prepared.rows import mixture_of
from gptjax.data.prepared.shard_files import read_documents
from gptjax.data.prepared.split import OpenedData
from gptjax.tokenization import Tokenizer

_COUNTED_TOKENS = 10_000_000


@dataclasses.dataclass(frozen=True)
class InspectedDocument:
    """A document of the shards.

    Attributes:
      name: "source: id", as messages have it.
      shard: where it lies.
      about: id, licence and metadata.
      tokens: how many, an end-of-text not counted.
      text: decoded.
    """

    name: str
    shard: str
    about: dict[str, Any]
    tokens: int
    text: str


@dataclasses.dataclass(frozen=True)
class InspectedRow:
    """A row as it is trained on.

    Attributes:
      number: of the example, from 0.
      parts: of each document in the row its name, its first token there, and its text.
      padding: places that hold nothing.
    """

    number: int
    parts: list[tuple[str, int, str]]
    padding: int


@dataclasses.dataclass(frozen=True)
class Dropping:
    """What a rule dropped.

    Attributes:
      reason: of the drops.
      counts: by source.
      examples: rows of the logs that have a text.
    """

    reason: str
    counts: dict[str, int]
    examples: list[dict[str, Any]]


def documents_by_id(
    opened: OpenedData, tokenizer: Tokenizer, names: Sequence[str]
) -> list[InspectedDocument]:
    """The documents of these names, "source: id" or "id" alone, in the order of the shards.

    A document that was cut has several pieces, whose ids are its own, "@" and a number: its own id
    finds them all.

    Raises:
      ValueError: a name that no document has.
    """
    found, wanted = [], set(names)
    seen: set[str] = set()
    marked = int(opened.index.end_of_text is not None)
    for entry in opened.index.shards:
        table = read_documents(opened.directory, entry)
        shard = opened.shard(entry)
        stops = [*table.starts[1:].tolist(), entry.tokens]
        for about, start, stop in zip(table.about, table.starts.tolist(), stops, strict=True):
            whole = about["id"].rpartition("@")[0] or about["id"]
            forms = {
                f"{lead}{id}" for lead in ("", f"{entry.source}: ") for id in (about["id"], whole)
            }
            if not forms & wanted:
                continue
            seen |= forms & wanted
            tokens = shard.read(start + marked, stop)
            name = f"{entry.source}: {about['id']}"
            text = tokenizer.decode(tokens)
            found.append(InspectedDocument(name, entry.name, about, len(tokens), text))
    for name in names:
        if name not in seen:
            raise ValueError(
                f"--ids: got {name!r}, which no document in the shards has, expected an id such as "
                f"{_some_id(opened)!r}"
            )
    return found


def rows_in_order(
    opened: OpenedData, tokenizer: Tokenizer, context_length: int, count: int, seed: int
) -> Iterator[InspectedRow]:
    """The first rows that a run of this seed trains on, with the boundaries of documents."""
    mixture = mixture_of(opened, context_length, document_masking=True, seed=seed)
    for number in range(count):
        tokens = mixture.batch(np.array([number]))["tokens"][0]
        passages, names = mixed_passages(mixture, [number])
        parts, at = [], 0
        for passage in passages:
            text = tokenizer.decode(tokens[at : at + passage.tokens])
            parts.append((names[passage.document], passage.first, text))
            at += passage.tokens
        yield InspectedRow(number, parts, int(context_length - at))


def document_lengths(opened: OpenedData) -> dict[str, dict[str, list[int]]]:
    """For each source how many documents have 1, 2 to 3, 4 to 7, ... tokens."""
    lengths = {}
    for source in dict.fromkeys(entry.source for entry in opened.index.shards):
        counts = np.zeros(0, np.int64)
        for entry in (one for one in opened.index.shards if one.source == source):
            starts = read_documents(opened.directory, entry).starts
            sizes = np.diff(starts, append=entry.tokens)
            bins = np.bincount(np.log2(np.maximum(sizes, 1)).astype(np.int64))
            counts = np.pad(counts, (0, max(0, len(bins) - len(counts))))
            counts[: len(bins)] += bins
        lengths[source] = {
            "from": [1 << place for place in range(len(counts))],
            "documents": counts.tolist(),
        }
    return lengths


def common_tokens(
    opened: OpenedData, tokenizer: Tokenizer, count: int
) -> tuple[list[tuple[str, int]], int, int]:
    """The commonest tokens with their numbers; tokens that never occur; tokens counted.

    At most the first ten million tokens to train on are counted.
    """
    stream = opened.train.tokens[: min(len(opened.train.tokens), _COUNTED_TOKENS)]
    counts = np.bincount(stream, minlength=opened.index.vocab_size)
    order = np.argsort(-counts, kind="stable")[:count]
    common = [(tokenizer.decode([token]), int(counts[token])) for token in order.tolist()]
    return common, int((counts == 0).sum()), len(stream)


def largest_clusters(directory: Path, count: int) -> list[dict[str, Any]]:
    """The clusters of near-duplicates with the most documents: who stays, and who does not."""
    path = directory / "duplicates" / "clusters.jsonl"
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        clusters = [json.loads(line) for line in file]
    clusters.sort(key=lambda row: (-len(row["dropped"]), row["kept"]))
    return clusters[:count]


def droppings(directory: Path, examples: int) -> list[Dropping]:
    """What each reason dropped, the commonest first, with examples."""
    found: dict[str, Dropping] = {}
    for row in dropped_rows(directory):
        of = found.setdefault(row["reason"], Dropping(row["reason"], {}, []))
        of.counts[row["source"]] = of.counts.get(row["source"], 0) + 1
        if "text" in row and len(of.examples) < examples:
            of.examples.append(row)
    return sorted(found.values(), key=lambda of: (-sum(of.counts.values()), of.reason))


def check_shards(opened: OpenedData) -> Iterable[str]:
    """Reads every byte; yields the name of each shard that is as it was written.

    Raises:
      ValueError: one is not.
    """
    for entry in opened.index.shards:
        read_documents(opened.directory, entry)
        opened.shard(entry).check()
        yield entry.name


def _some_id(opened: OpenedData) -> str:
    entry = opened.index.shards[0]
    (about,) = itertools.islice(read_documents(opened.directory, entry).about, 1)
    return f"{entry.source}: {about['id']}"
