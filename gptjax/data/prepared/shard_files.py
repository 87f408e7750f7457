"""Shards: files of tokens with a checksum for every block, and what is known of their documents.

    shard = write_shard(Path("DIR"), "train/books-00000", "books", documents, tokenizer_marks)
    ShardTokens(Path("DIR"), shard, dtype).read(1000, 2000)

`NAME.tokens` is `<eot> document <eot> document ...` in little-endian numbers, and behind them the
CRC-32 of each block of 64 KiB. A block is checked when it is read first, so that a shard of any
size opens at once; Linux reads files by such pieces anyway. `NAME.documents` has where each
document begins, its bytes, its key, and its id, licence and metadata.
"""

import dataclasses
import functools
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.atomic_files import replaced

BLOCK = 1 << 16  # bytes under one checksum
_REMADE = "expected the file that `experiments.prepare_data` wrote; prepare the data again"


@dataclasses.dataclass(frozen=True)
class ShardEntry:
    """What the index says of a shard.

    Attributes:
      name: path below the directory, without suffix: "train/books-00000".
      source: the corpus that it is of.
      split: "train" or "validation".
      tokens: in it, an end-of-text before each document counted, where the tokenizer has one.
      documents: in it.
      text_bytes: UTF-8 bytes of the documents.
      decoded_bytes: UTF-8 bytes of what the tokens decode to; the same unless text is lost.
      checksums: SHA-256 (hex) of the checksums of the blocks.
      documents_size: bytes of NAME.documents.
      documents_hash: SHA-256 (hex) of that file.
    """

    name: str
    source: str
    split: str
    tokens: int
    documents: int
    text_bytes: int
    decoded_bytes: int
    checksums: str
    documents_size: int
    documents_hash: str


@dataclasses.dataclass(frozen=True)
class ShardDocument:
    """A document on its way into a shard.

    Attributes:
      key: 16 bytes, by which the documents of a shard are ordered.
      about: id, licence and metadata, as JSON has them.
      text_bytes: of its text.
      decoded_bytes: of what `tokens` decode to.
      tokens: [n] integers.
    """

    key: bytes
    about: dict[str, Any]
    text_bytes: int
    decoded_bytes: int
    tokens: np.ndarray


@dataclasses.dataclass(frozen=True)
class DocumentTable:
    """The documents of a shard, in order.

    Attributes:
      starts: token at which each begins, its end-of-text included, [D] int64.
      text_bytes: of each, [D] int64.
      keys: [D, 16] uint8.
      about: id, licence and metadata of each.
    """

    starts: np.ndarray
    text_bytes: np.ndarray
    keys: np.ndarray
    about: list[dict[str, Any]]


def write_shard(
    directory: Path,
    name: str,
    documents: Sequence[ShardDocument],
    dtype: np.dtype,
    end_of_text: int | None,
) -> ShardEntry:
    """Writes a shard, whole or not at all; equal documents make equal bytes.

    Args:
      directory: of the prepared data.
      name: "train/books-00000": split, source, number.
      documents: what it holds, in order.
      dtype: of a token, uint16 or uint32.
      end_of_text: goes before each document; None: nothing does.
    """
    split, _, rest = name.partition("/")
    separator = [] if end_of_text is None else [np.array([end_of_text], dtype)]
    pieces = [piece for one in documents for piece in (*separator, one.tokens.astype(dtype))]
    content = np.concatenate(pieces or [np.empty(0, dtype)]).astype(dtype.newbyteorder("<"))
    sizes = [len(one.tokens) + len(separator) for one in documents]
    raw = content.tobytes()
    checksums = np.array([zlib.crc32(block) for block in _blocks(raw)], "<u4").tobytes()

    table = io.BytesIO()
    for array in (
        np.cumsum([0, *sizes[:-1]] if sizes else [], dtype=np.int64),
        np.array([one.text_bytes for one in documents], np.int64),
        np.frombuffer(b"".join(one.key for one in documents), np.uint8).reshape(-1, 16),
    ):
        np.save(table, array)
    for one in documents:
        table.write(json.dumps(one.about, sort_keys=True).encode() + b"\n")

    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix, parts in ((".documents", (table.getvalue(),)), (".tokens", (raw, checksums))):
        with replaced(f"{path}{suffix}", "wb") as file:
            for part in parts:
                file.write(part)
    return ShardEntry(
        name=name,
        source=rest.rpartition("-")[0],
        split=split,
        tokens=len(content),
        documents=len(documents),
        text_bytes=sum(one.text_bytes for one in documents),
        decoded_bytes=sum(one.decoded_bytes for one in documents),
        checksums=hashlib.sha256(checksums).hexdigest(),
        documents_size=len(table.getvalue()),
        documents_hash=hashlib.sha256(table.getvalue()).hexdigest(),
    )


def _blocks(raw: bytes) -> Iterable[memoryview]:
    view = memoryview(raw)
    return (view[first : first + BLOCK] for first in range(0, len(raw), BLOCK))


def token_file_size(entry: ShardEntry, dtype: np.dtype) -> int:
    """Bytes of a whole file of tokens with its checksums."""
    size = entry.tokens * dtype.itemsize
    return size + 4 * -(-size // BLOCK)


class ShardTokens:
    """The tokens of a shard, checked block by block as they are read."""

    def __init__(self, directory: Path, entry: ShardEntry, dtype: np.dtype):
        """Opens nothing yet."""
        self._path = f"{directory}/{entry.name}.tokens"
        self._entry = entry
        self._dtype = dtype

    def __len__(self) -> int:
        return self._entry.tokens

    @functools.cached_property
    def _opened(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mapped tokens, the checksums of their blocks, and which blocks are checked."""
        expected = token_file_size(self._entry, self._dtype)
        try:
            whole = np.memmap(self._path, np.uint8, "r") if expected else np.empty(0, np.uint8)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {self._path}: {error}; {_REMADE}") from error
        check_size(self._path, len(whole), expected)
        content = self._entry.tokens * self._dtype.itemsize
        checksums = whole[content:].tobytes()
        if hashlib.sha256(checksums).hexdigest() != self._entry.checksums:
            raise ValueError(f"{self._path}: got altered checksums, {_REMADE}")
        sums = np.frombuffer(checksums, "<u4")
        tokens = whole[:content].view(self._dtype.newbyteorder("<"))
        return tokens, sums, np.zeros(len(sums), bool)

    def read(self, first: int, stop: int) -> np.ndarray:
        """Tokens `first` to `stop` - 1, [stop - first].

        Raises:
          ValueError: the file is missing, cut off or altered where it is read.
        """
        tokens, sums, checked = self._opened
        size = self._dtype.itemsize
        blocks = range(first * size // BLOCK, -(-stop * size // BLOCK))
        for block in blocks:
            if not checked[block]:
                here = tokens[block * BLOCK // size : (block + 1) * BLOCK // size]
                if zlib.crc32(here.data) != sums[block]:
                    raise ValueError(
                        f"{self._path}: got altered bytes in {block * BLOCK} to "
                        f"{block * BLOCK + here.nbytes - 1}, {_REMADE}"
                    )
                checked[block] = True
        return tokens[first:stop]

    def check(self) -> None:
        """Reads all of it; ValueError, as `read` raises it, where something is not as written."""
        self.read(0, len(self))


def check_size(path: Path | str, got: int, expected: int) -> None:
    """Refuses (ValueError) a file of another size than the index says."""
    if got != expected:
        raise ValueError(f"{path}: got {got} bytes, expected {expected}; prepare the data again")


def read_documents(directory: Path, entry: ShardEntry) -> DocumentTable:
    """What is known of the documents of a shard.

    Raises:
      ValueError: the file is missing or was altered.
    """
    path = directory / f"{entry.name}.documents"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; {_REMADE}") from error
    check_size(path, len(content), entry.documents_size)
    if hashlib.sha256(content).hexdigest() != entry.documents_hash:
        raise ValueError(f"{path}: got altered bytes, {_REMADE}")
    file = io.BytesIO(content)
    starts, text_bytes, keys = (np.load(file) for _ in range(3))
    return DocumentTable(starts, text_bytes, keys, [json.loads(line) for line in file])
