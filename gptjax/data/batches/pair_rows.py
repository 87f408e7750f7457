"""Pairs of sentences as batches of one length each, in few lengths that pad little.

    pairs = tokenized(load_pairs("tsv:deu.txt"), tokenizer, context_length=128)
    buckets = bucketed(pairs, bucket_lengths(pairs, context_length=128, count=8), 128)
    bucket, indices = BucketOrder(buckets, batch_size=16, seed=0).at(1000)
    bucket.batch(indices)["sources"]

A bucket holds the pairs up to a length. Of a context of C tokens, a bucket of length L has C // L
sentences for each row of the batch size, so that batches have about as many tokens, whatever their
bucket, and divide over a mesh alike. Which bucket a step takes, and which of its pairs, are pure
functions of (seed, step).
"""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Iterable

import numpy as np

from gptjax.data.batches.mixture import shuffled
from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.corpora.pairs import Pair
from gptjax.data.dialogue.records import Records
from gptjax.tokenization import Tokenizer

_AT_ONCE = 10_000  # sentences that are tokenised


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Sentences as tokens, one after another.

    Attributes:
      tokens: int32 [N], each sentence with the end-of-text behind it.
      starts: int64 [n + 1], where each begins; the last is N.
    """

    tokens: np.ndarray
    starts: np.ndarray

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each, int64 [n]."""
        return np.diff(self.starts)

    def rows(self, indices: np.ndarray, length: int) -> np.ndarray:
        """Sentences `indices` [B], or none where they are negative: int32 [B, length], 0 behind."""
        places = self.starts[indices][:, None] + np.arange(length)
        counts = np.where(indices < 0, 0, self.lengths[indices])
        tokens = self.tokens[np.minimum(places, len(self.tokens) - 1)]
        return np.where(np.arange(length) < counts[:, None], tokens, 0).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class TokenizedPairs:
    """Pairs as tokens.

    Attributes:
      sources, targets: sentences of the n pairs that fit in a context.
      words: int32 [n], of each target: parts between white space.
      kept: int64 [n], which of the records each is.
      start: token before the first of a target, which is the end-of-text.
      past_context: pairs with a side longer than the context, which were dropped or cut.
    """

    sources: Sentences
    targets: Sentences
    words: np.ndarray
    kept: np.ndarray
    start: int
    past_context: int

    def __len__(self) -> int:
        return len(self.words)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of the longer side of each pair, int64 [n]."""
        return np.maximum(self.sources.lengths, self.targets.lengths)


def tokenized(
    records: Records[Pair], tokenizer: Tokenizer, context_length: int, *, cut: bool = False
) -> TokenizedPairs:
    """Pairs as tokens, each side with the end-of-text behind it.

    Args:
      records: the pairs.
      tokenizer: of both sides.
      context_length: the most tokens of a side, end-of-text included.
      cut: whether longer sides lose their last tokens; if not, their pairs are dropped.

    Raises:
      ValueError: a tokenizer without an end-of-text, or no pair is left.
    """
    end = end_of(tokenizer)
    sources = encoded((pair.source for pair in records), tokenizer, end)
    targets = encoded((pair.target for pair in records), tokenizer, end)
    longer = [max(len(a), len(b)) for a, b in zip(sources, targets, strict=True)]
    long = np.array(longer) > context_length
    kept = np.arange(len(records)) if cut else np.flatnonzero(~long)
    if not len(kept):
        raise ValueError(
            f"{records.name!r}: got {len(records)} pairs, all with a side of more tokens than the "
            f"context, expected sides of at most {context_length}, end-of-text included"
        )

    def sentences(side: list[np.ndarray]) -> Sentences:
        left = [side[i] for i in kept]
        if cut:
            left = [
                each
                if len(each) <= context_length
                else np.append(each[: context_length - 1], np.int32(end))
                for each in left
            ]
        starts = np.array([0, *itertools.accumulate(map(len, left))], np.int64)
        return Sentences(np.concatenate(left), starts)

    words = np.array([len(records[int(i)].target.split()) for i in kept], np.int32)
    return TokenizedPairs(sentences(sources), sentences(targets), words, kept, end, int(long.sum()))


def end_of(tokenizer: Tokenizer) -> int:
    """The end-of-text, which ends sentences; ValueError where a tokenizer has none."""
    if tokenizer.end_of_text is None:
        raise ValueError(
            f"config.data.tokenizer: got one of kind {tokenizer.kind}, which has no end-of-text, "
            "expected one that has, which ends sentences"
        )
    return tokenizer.end_of_text


def encoded(texts: Iterable[str], tokenizer: Tokenizer, end: int) -> list[np.ndarray]:
    """Token ids of texts, int32 [n] each, with `end` behind them."""
    remaining, found = iter(texts), []
    while some := list(itertools.islice(remaining, _AT_ONCE)):
        found += [np.append(ids, np.int32(end)) for ids in tokenizer.encode_batch(some)]
    return found


def bucket_lengths(lengths: np.ndarray, context_length: int, count: int) -> tuple[int, ...]:
    """The lengths of at most `count` buckets that pad sentences of `lengths` [n] least.

    Only lengths that fill a context are tried, that is C // r for a whole r.
    """
    tried = sorted({context_length // r for r in range(1, context_length + 1)})
    tried = tried[: 1 + next(i for i, size in enumerate(tried) if size >= lengths.max())]
    up_to = [int((lengths <= size).sum()) for size in tried]
    # The fewest tokens of all sentences up to each length, with a bucket that ends there.
    best = [(size * n, (size,)) for size, n in zip(tried, up_to, strict=True)]
    for _ in range(count - 1):
        best = [
            min(
                [best[j]]
                + [
                    (best[i][0] + size * (up_to[j] - up_to[i]), (*best[i][1], size))
                    for i in range(j)
                    if up_to[i]
                ],
                key=lambda found: found[0],
            )
            for j, size in enumerate(tried)
        ]
    return best[-1][1]


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Pairs up to a length.

    Attributes:
      pairs: all there are.
      members: int64 [n], those in the bucket.
      length: tokens of a row, on both sides.
      sentences: how many pairs stand for a row of the batch size.
    """

    pairs: TokenizedPairs
    members: np.ndarray
    length: int
    sentences: int

    def __len__(self) -> int:
        return len(self.members)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """The pairs `indices` [B], of the bucket's; what lies past the last is padding.

        Returns:
          sources: int32 [B, L], with the end-of-text behind each.
          lengths: int32 [B], tokens of each source; 0 for padding.
          tokens, targets: int32 [B, L]; targets are the tokens that follow.
          loss_weights: float32 [B, L], 0 on padding, 1 elsewhere.
          words: int32 [B], of the targets.
        """
        real = indices < len(self)
        held = np.where(real, self.members[np.minimum(indices, len(self) - 1)], -1)
        targets = self.pairs.targets.rows(held, self.length)
        tokens = np.roll(targets, 1, axis=1)
        tokens[:, 0] = self.pairs.start
        counts = np.where(real, self.pairs.targets.lengths[held], 0)
        return {
            "sources": self.pairs.sources.rows(held, self.length),
            "lengths": np.where(real, self.pairs.sources.lengths[held], 0).astype(np.int32),
            "tokens": tokens,
            "targets": targets,
            "loss_weights": (np.arange(self.length) < counts[:, None]).astype(np.float32),
            "words": np.where(real, self.pairs.words[held], 0).astype(np.int32),
        }


Buckets = tuple[Bucket, ...]


def bucketed(pairs: TokenizedPairs, lengths: tuple[int, ...], context_length: int) -> Buckets:
    """The pairs in buckets of `lengths`, in rising order; those without a pair are left out."""
    found, before = [], 0
    for length in lengths:
        members = np.flatnonzero((pairs.lengths > before) & (pairs.lengths <= length))
        if members.size:
            found.append(Bucket(pairs, members, length, context_length // length))
        before = length
    return tuple(found)


class BucketOrder:
    """Which bucket and which of its pairs each batch has, by the batch's number.

    An epoch has every pair once. Each bucket is shuffled and cut into batches, the last of which is
    filled with padding, and the batches of all buckets are shuffled.
    """

    def __init__(self, buckets: Buckets, batch_size: int, seed: int):
        """`batch_size`: rows of the context's length that a batch amounts to."""
        self._buckets, self._seed = buckets, seed
        self._rows = [bucket.sentences * batch_size for bucket in buckets]
        counts = [-(-len(b) // rows) for b, rows in zip(buckets, self._rows, strict=True)]
        self._ends = list(itertools.accumulate(counts))

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._ends[-1]

    @property
    def padding(self) -> float:
        """Share of the tokens of an epoch's batches, of both sides, that is padding."""
        starts, real, computed = [0, *self._ends], 0, 0
        for bucket, rows, first, end in zip(
            self._buckets, self._rows, starts, self._ends, strict=False
        ):
            computed += 2 * bucket.length * rows * (end - first)
            for side in (bucket.pairs.sources, bucket.pairs.targets):
                real += int(side.lengths[bucket.members].sum())
        return 1 - real / computed

    def at(self, number: int) -> tuple[Bucket, np.ndarray]:
        """The bucket of batch `number`, from 0, and which of its pairs, as `Bucket.batch` takes."""
        epoch, place = divmod(number, len(self))
        place = shuffled(place, len(self), _seed(self._seed, epoch, 0))
        which = bisect.bisect_right(self._ends, place)
        bucket, rows = self._buckets[which], self._rows[which]
        first = (place - (self._ends[which - 1] if which else 0)) * rows
        seed = _seed(self._seed, epoch, bucket.length)
        indices = [
            shuffled(nth, len(bucket), seed) if nth < len(bucket) else nth
            for nth in range(first, first + rows)
        ]
        return bucket, np.array(indices, np.int64)


@functools.lru_cache(maxsize=64)
def _seed(seed: int, epoch: int, stream: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0])
