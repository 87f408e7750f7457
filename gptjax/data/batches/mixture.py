"""Several sources of rows as one stream: which source, and which of its rows, by example number.

    mixture = Mixture({"demos": packed, "text": WindowRows(prepared.train, 512)},
                      {"demos": 0.9, "text": 0.1}, seed=0)
    mixture.batch(np.arange(1000, 1032))   # examples 1000 to 1031, whatever came before
    mixture.counts(1032)                   # {"demos": 928, "text": 104}

Everything is a pure function of (seed, example number), as in `loader`. The stream is cut into
short blocks. After any number of whole blocks each source has had its exact share, rounded, and
within a block the order is drawn from the seed. A source's own rows come in another order in each
of its epochs, and its order does not depend on what it is mixed with.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Protocol

import numpy as np

from gptjax.data.batches.skipping import Ranges, nth_example
from gptjax.data.batches.token_stream import HostBatch, TokenizedSplit
from gptjax.registry import unknown_name

_ORDER, _BLOCK = 0, 1  # streams of randomness of one seed


class Rows(Protocol):
    """Source of a mixture: a number of rows, each made from its index."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def batch(self, indices: np.ndarray) -> HostBatch:
        """The rows `indices` [B] int64, as arrays that all begin with B."""
        ...


class Examples(Protocol):
    """Stream of rows without end, each made from its number alone, as that of a `Mixture`."""

    def batch(self, examples: np.ndarray) -> HostBatch:
        """The rows `examples` [B] int64, as arrays that all begin with B."""
        ...


@dataclasses.dataclass(frozen=True)
class WindowRows:
    """The full windows of a tokenised text as rows.

    Attributes:
      split: the text.
      context_length: T, tokens a window.
      document_masking: whether documents in a window are hidden from each other; if not, a
        window is one segment, so that batches mix with those of conversations all the same.
    """

    split: TokenizedSplit
    context_length: int
    document_masking: bool = True

    def __len__(self) -> int:
        return self.split.full_windows(self.context_length)

    def batch(self, indices: np.ndarray) -> HostBatch:
        batch = self.split.batch(indices, self.context_length, self.document_masking)
        if not self.document_masking:
            shape = batch["tokens"].shape
            batch["segment_ids"] = np.zeros(shape, np.int32)
            batch["positions"] = np.tile(np.arange(shape[1], dtype=np.int32), (shape[0], 1))
        return batch


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Sources and their shares.

    Attributes:
      sources: rows by name; the batches of all must have the same keys and row shapes.
      weights: share of each source in the examples, above 0, in any unit.
      seed: of all that is random.

    Raises:
      ValueError: no source, an empty one, other names in `weights`, or a weight not above 0.
    """

    sources: Mapping[str, Rows]
    weights: Mapping[str, float]
    seed: int

    def __post_init__(self):
        if not self.sources:
            raise ValueError("mixture: got no sources, expected at least one")
        for name in self.weights:
            if name not in self.sources:
                raise unknown_name("source of the mixture", name, self.sources)
        for name, rows in self.sources.items():
            weight = self.weights.get(name, math.nan)
            if not 0 < weight < math.inf:
                raise ValueError(f"weight of {name!r}: got {weight}, expected a number above 0")
            if not len(rows):
                raise ValueError(f"source {name!r}: got no rows, expected at least one")

    @functools.cached_property
    def _edges(self) -> tuple[Fraction, ...]:
        """Upper end of each source's share of [0, 1]."""
        weights = [Fraction(self.weights[name]) for name in self.sources]
        total = sum(weights)
        return tuple(edge / total for edge in itertools.accumulate(weights))

    @functools.cached_property
    def block(self) -> int:
        """Examples in a block: so many that the rarest source has two or more in it."""
        starts = (Fraction(0), *self._edges)
        rarest = min(b - a for a, b in itertools.pairwise(starts))
        return math.ceil(2 / rarest)

    def _before_block(self, block: int) -> list[int]:
        """Examples of each source in the first `block` blocks.

        Edges are rounded, not shares: together they are all examples, and each is within one of
        its exact share. It never falls from block to block, in which a share is two or more.
        """
        edges = [math.floor(edge * block * self.block) for edge in self._edges]
        return [b - a for a, b in itertools.pairwise([0, *edges])]

    def _sources_in(self, block: int) -> np.ndarray:
        """The source of each example of a block, [block] int."""
        before, after = self._before_block(block), self._before_block(block + 1)
        counts = [b - a for a, b in zip(before, after, strict=True)]
        return np.repeat(np.arange(len(counts)), counts)[_block_order(self.seed, block, self.block)]

    def locate(self, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Says what examples are.

        Args:
          examples: their numbers, [B] integers from 0.

        Returns:
          source: [B] int64, the source of each, by its place in `sources`.
          index: [B] int64, which of its rows.
        """
        sources, indices = np.empty((2, len(examples)), np.int64)
        sizes = [len(rows) for rows in self.sources.values()]
        names = list(self.sources)
        blocks: dict[int, tuple[np.ndarray, list[int]]] = {}
        for row, example in enumerate(examples.tolist()):
            block, place = divmod(example, self.block)
            if block not in blocks:
                blocks[block] = self._sources_in(block), self._before_block(block)
            order, before = blocks[block]
            source = int(order[place])
            nth = before[source] + int((order[:place] == source).sum())
            epoch, at = divmod(nth, sizes[source])
            sources[row] = source
            indices[row] = shuffled(at, sizes[source], _order_seed(self.seed, names[source], epoch))
        return sources, indices

    def counts(self, stop: int) -> dict[str, int]:
        """Number of the first `stop` examples that are of each source: the achieved mix."""
        block, place = divmod(stop, self.block)
        within = np.bincount(self._sources_in(block)[:place], minlength=len(self.sources))
        totals = zip(self.sources, self._before_block(block), within.tolist(), strict=True)
        return {name: before + here for name, before, here in totals}

    def report(self, taken: int, skipped: Ranges = ()) -> dict[str, dict[str, float]]:
        """Says what a run of `taken` examples was made of.

        Args:
          taken: how many, from the first on.
          skipped: ranges of examples that were left out, see `skipping`.

        Returns:
          For each source its `examples`, their `share` of all, and its `epochs`.
        """
        stop = nth_example(taken - 1, skipped) + 1 if taken else 0
        counts = collections.Counter(self.counts(stop))
        for first, end in skipped:
            if first < stop:
                counts.subtract(self.counts(end))
                counts.update(self.counts(first))
        return {
            name: {
                "examples": count,
                "share": count / taken if taken else 0.0,
                "epochs": count / len(self.sources[name]),
            }
            for name, count in counts.items()
        }

    def batch(self, examples: np.ndarray) -> HostBatch:
        """Makes examples, given by number, [B] integers, in any order.

        Raises:
          ValueError: sources whose batches have different keys or row shapes.
        """
        located, indices = self.locate(examples)
        batch: HostBatch = {}
        for source, (name, rows) in enumerate(self.sources.items()):
            places = np.flatnonzero(located == source)
            if not places.size:
                continue
            part = rows.batch(indices[places])
            if not batch:
                batch = {
                    key: np.empty((len(examples), *values.shape[1:]), values.dtype)
                    for key, values in part.items()
                }
            got, expected = _shapes(part), _shapes(batch)
            if got != expected:
                raise ValueError(f"rows of {name!r}: got {got}, expected {expected}, as the others")
            for key, values in part.items():
                batch[key][places] = values
        return batch


def _shapes(batch: HostBatch) -> dict[str, list[int]]:
    return {key: list(values.shape[1:]) for key, values in sorted(batch.items())}


@functools.lru_cache(maxsize=64)
def _block_order(seed: int, block: int, size: int) -> np.ndarray:
    """A permutation of the examples of a block, [size] int."""
    drawn = int(np.random.SeedSequence([seed, _BLOCK, block]).generate_state(1, np.uint64)[0])
    return np.array([shuffled(place, size, drawn) for place in range(size)])


@functools.lru_cache(maxsize=1024)
def _order_seed(seed: int, name: str, epoch: int) -> int:
    """Seed of a source's order in an epoch; it depends on the source's name, not on its place."""
    name_bits = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    sequence = np.random.SeedSequence([seed, _ORDER, name_bits, epoch])
    return int(sequence.generate_state(1, np.uint64)[0])


def shuffled(place: int, size: int, seed: int) -> int:
    """Returns what stands at `place` of a permutation of 0..size-1 drawn from `seed`.

    A Feistel network permutes the numbers of an even number of bits, at least as many as `size`;
    what falls outside is permuted again (Black and Rogaway 2002, "Ciphers with Arbitrary Finite
    Domains", section 4), so that nothing of the permutation is kept or computed but this.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for turn in range(6):
            left, right = right, left ^ (_mixed(right, seed + turn) & mask)
        place = left << half | right
        if place < size:
            return place


def _mixed(value: int, key: int) -> int:
    """64 bits that depend on all bits of both (the finaliser of SplitMix64, Steele et al. 2014)."""
    bits = (value + key * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return bits ^ bits >> 31
