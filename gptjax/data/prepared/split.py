"""Shards as one stream of tokens, and the splits of prepared data.

opened = open_prepared("DIR", tokenizer)
opened.train.batch(np.arange(8), context_length=256)
opened.sources["books"].train
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.data.prepared.index import PreparedIndex, check_tokenizer, read_index
from gptjax.data.prepared.shard_files import ShardEntry, ShardTokens, read_documents
from gptjax.tokenization import Tokenizer


class StreamOfShards:
    """Shards one behind another, and an end-of-text at the end, read like one array."""

    ndim = 1

    def __init__(self, directory: Path, entries: Sequence[ShardEntry], index: PreparedIndex):
        """`entries`: of the shards, in order."""
        self.dtype = index.dtype
        self._shards = [ShardTokens(directory, entry, index.dtype) for entry in entries]
        self._tail = np.array([] if index.end_of_text is None else [index.end_of_text], self.dtype)
        sizes = [*map(len, self._shards), len(self._tail)]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self._starts = self._ends - sizes

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def shape(self) -> tuple[int]:
        """Number of tokens."""
        return (len(self),)

    def __getitem__(self, places: Any) -> np.ndarray:
        """Tokens at a slice, or at an array of places of any shape."""
        if isinstance(places, slice):
            first, stop, step = places.indices(len(self))
            return self._read(first, max(first, stop))[::step] if step > 0 else self[:][places]
        places = np.asarray(places)
        found = np.empty(places.size, self.dtype)
        flat = places.reshape(-1)
        # Rows of a batch are windows, whose places rise by one.
        breaks = np.flatnonzero(np.diff(flat) != 1) + 1
        for first, stop in itertools.pairwise([0, *breaks.tolist(), len(flat)]):
            if stop > first:
                start = int(flat[first])
                found[first:stop] = self._read(start, start + stop - first)
        return found.reshape(places.shape)

    def _read(self, first: int, stop: int) -> np.ndarray:
        if stop <= first:
            return np.empty(0, self.dtype)
        shard = int(np.searchsorted(self._ends, first, side="right"))
        parts = []
        while first < stop:
            start, end = int(self._starts[shard]), int(self._ends[shard])
            upto = min(stop, end)
            if shard == len(self._shards):
                parts.append(self._tail[first - start : upto - start])
            elif upto > first:
                parts.append(self._shards[shard].read(first - start, upto - start))
            first, shard = upto, shard + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class _LazyArray:
    """An array that is made when it is first looked at."""

    def __init__(self, make: Callable[[], np.ndarray], length: int):
        self._make = make
        self._length = length

    @functools.cached_property
    def _array(self) -> np.ndarray:
        return self._make()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, places: Any) -> Any:
        return self._array[places]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._array, dtype=dtype, copy=copy)

    def searchsorted(self, *arguments: Any, **named: Any) -> Any:
        """As of arrays."""
        return self._array.searchsorted(*arguments, **named)

    def sum(self) -> Any:
        """As of arrays."""
        return self._array.sum()


@dataclasses.dataclass(frozen=True)
class PreparedSplit(TokenizedSplit):
    """The token stream of shards.

    Attributes:
      bytes_in_all: UTF-8 bytes of the documents, or of what their tokens decode to.
      of_tokens: which of the two.
      about: gives source, id, licence and metadata of a document by its number.
    """

    bytes_in_all: int = 0
    of_tokens: bool = False
    about: Callable[[int], dict[str, Any]] = lambda _: {}

    @functools.cached_property
    def num_bytes(self) -> int:
        return self.bytes_in_all

    @property
    def bytes_of(self) -> str:
        return "decoded tokens" if self.of_tokens else "documents"


@dataclasses.dataclass(frozen=True)
class PreparedSource:
    """One source of prepared data.

    Attributes:
      name: of the source.
      weight: its share in the rows that are trained on, in any unit.
      train: what is trained on.
    """

    name: str
    weight: float
    train: PreparedSplit


@dataclasses.dataclass(frozen=True)
class OpenedData:
    """Prepared data, opened.

    Attributes:
      directory: where it lies.
      index: what lies there.
      train: everything that is trained on, source after source.
      validation: what is held out.
      sources: those with a weight, by name.
    """

    directory: Path
    index: PreparedIndex
    train: PreparedSplit
    validation: PreparedSplit
    sources: Mapping[str, PreparedSource]

    def split(self, split: str, source: str | None = None) -> PreparedSplit:
        """A split, of one source or of all."""
        return _split(self.directory, self.index, self.index.entries(split, source), split, source)

    def shard(self, entry: ShardEntry) -> ShardTokens:
        """The tokens of one shard."""
        return ShardTokens(self.directory, entry, self.index.dtype)

    @property
    def everything(self) -> PreparedSplit:
        """Both splits as one."""
        return _split(self.directory, self.index, list(self.index.shards), "text", None)


def open_prepared(directory: str | Path, tokenizer: Tokenizer | None = None) -> OpenedData:
    """Opens what `experiments.prepare_data` has written.

    Args:
      directory: its output.
      tokenizer: of the model, which must have made the tokens; None: any.

    Raises:
      ValueError: there is none, a file is missing or cut off, or another tokenizer made it.
    """
    directory = Path(directory)
    index = read_index(directory)
    if tokenizer is not None:
        check_tokenizer(directory, index, tokenizer)

    def split(name: str, source: str | None = None) -> PreparedSplit:
        return _split(directory, index, index.entries(name, source), name, source)

    sources = {
        name: PreparedSource(name, weight, split("train", name))
        for name, weight in index.weights.items()
    }
    return OpenedData(directory, index, split("train"), split("validation"), sources)


def _split(
    directory: Path,
    index: PreparedIndex,
    entries: Sequence[ShardEntry],
    split: str,
    source: str | None,
) -> PreparedSplit:
    count = sum(entry.documents for entry in entries)

    @functools.cache
    def tables() -> tuple[np.ndarray, np.ndarray]:
        """Starts in the stream and bytes of all documents."""
        starts, text_bytes, before = [], [], 0
        for entry in entries:
            table = read_documents(directory, entry)
            starts.append(table.starts + before)
            text_bytes.append(table.text_bytes)
            before += entry.tokens
        empty = np.empty(0, np.int64)
        return np.concatenate([empty, *starts]), np.concatenate([empty, *text_bytes])

    ends = np.cumsum([entry.documents for entry in entries])

    @functools.lru_cache(maxsize=16)
    def about_shard(shard: int) -> list[dict[str, Any]]:
        return read_documents(directory, entries[shard]).about

    def about(number: int) -> dict[str, Any]:
        shard = int(np.searchsorted(ends, number, side="right"))
        within = number - int(ends[shard]) + entries[shard].documents
        return {"source": entries[shard].source, **about_shard(shard)[within]}

    of = f" of {source!r}" if source else ""
    return PreparedSplit(
        f"{split} split{of} of 'prepared:{directory}'",
        cast(np.ndarray, StreamOfShards(directory, entries, index)),
        cast(np.ndarray, _LazyArray(lambda: tables()[0], count)),
        cast(np.ndarray, _LazyArray(lambda: tables()[1], count)),
        bytes_in_all=sum(
            entry.text_bytes if index.keeps_text else entry.decoded_bytes for entry in entries
        ),
        of_tokens=not index.keeps_text,
        about=about,
    )
