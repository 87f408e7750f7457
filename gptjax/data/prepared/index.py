"""Index of prepared data: its shards, tokenizer, weights and packing, in one file.

    index = read_index(Path("DIR"))
    index.entries("train", "books")

Opening reads this file and the sizes of the others, and nothing else: 10,000 shards open in under a
second.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.atomic_files import replaced
from gptjax.data.prepared.shard_files import ShardEntry, check_size, token_file_size
from gptjax.tokenization import Tokenizer

NAME = "index.json"
FORMAT = 1  # to be raised with any change of what lies in a directory


@dataclasses.dataclass(frozen=True)
class PreparedIndex:
    """What lies in a directory of prepared data.

    Attributes:
      tokenizer_hash: content hash of the tokenizer.
      vocab_size: of it.
      end_of_text: its token between documents; None: there is none.
      keeps_text: whether tokens decode to the text that they came from.
      packing: how documents become rows: one of `PACKINGS`.
      weights: of each source that is trained on, in its share of the rows.
      shards: all of them, ordered by name.
      provenance: of the sources, and the configuration.
    """

    tokenizer_hash: str
    vocab_size: int
    end_of_text: int | None
    keeps_text: bool
    packing: str
    weights: Mapping[str, float]
    shards: tuple[ShardEntry, ...]
    provenance: Mapping[str, Any]

    @property
    def dtype(self) -> np.dtype:
        """Type of a token in a file."""
        return token_dtype(self.vocab_size)

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of everything that a run can depend on."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def entries(self, split: str, source: str | None = None) -> list[ShardEntry]:
        """The shards of a split, of one source or of all, in order."""
        of_split = (entry for entry in self.shards if entry.split == split)
        return [entry for entry in of_split if source in (None, entry.source)]

    def _content(self) -> dict[str, Any]:
        content = {name: value for name, value in vars(self).items() if name != "provenance"}
        return {"format": FORMAT} | content | {"shards": [vars(entry) for entry in self.shards]}


def token_dtype(vocab_size: int) -> np.dtype:
    """uint16 where every token fits, else uint32."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def write_index(directory: Path, index: PreparedIndex) -> None:
    """Writes the index, with which the directory is whole."""
    content = {"format": FORMAT, "content_hash": index.content_hash, **vars(index)}
    del content["shards"]
    head = json.dumps(content, indent=1, sort_keys=True).removesuffix("\n}")
    rows = ",\n  ".join(json.dumps(vars(shard), sort_keys=True) for shard in index.shards)
    with replaced(directory / NAME) as file:
        file.write(f'{head},\n "shards": [\n  {rows}\n ]\n}}\n')


def read_index(directory: Path) -> PreparedIndex:
    """Reads the index, and compares the sizes of all files with it.

    Raises:
      ValueError: there is no whole index, it was altered, or a file is missing or of another size.
    """
    path = directory / NAME
    try:
        content = json.loads(path.read_bytes())
        form, expected = content.pop("format"), content.pop("content_hash")
        content["shards"] = tuple(ShardEntry(**entry) for entry in content["shards"])
        index = PreparedIndex(**content)
    except OSError as error:
        raise ValueError(
            f"{directory}: no {NAME} ({error.strerror}), expected a folder that "
            "`python -m experiments.prepare_data --output=DIR` has finished"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: got a damaged index ({error}); prepare the data again"
        ) from error
    if form != FORMAT:
        raise ValueError(f"{path}: got format {form}, expected {FORMAT}; prepare the data again")
    if index.content_hash != expected:
        raise ValueError(f"{path}: got an altered index; prepare the data again")
    for entry in index.shards:
        sizes = {
            "tokens": token_file_size(entry, index.dtype),
            "documents": entry.documents_size,
        }
        for suffix, size in sizes.items():
            file = f"{directory}/{entry.name}.{suffix}"  # a Path takes ten times as long
            try:
                check_size(file, os.stat(file).st_size, size)
            except OSError as error:
                raise ValueError(
                    f"{file}: {error.strerror}, expected a shard of {size} bytes; prepare the data "
                    "again"
                ) from error
    return index


def held_out_hash(directory: Path) -> str:
    """SHA-256 (hex) of the held-out shards of prepared data, and of how they become rows.

    Raises:
      ValueError: as of `read_index`.
    """
    index = read_index(directory)
    shards = [vars(entry) for entry in index.entries("validation")]
    content = [index.tokenizer_hash, index.packing, shards]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_tokenizer(directory: Path, index: PreparedIndex, tokenizer: Tokenizer) -> None:
    """Refuses (ValueError) a tokenizer other than the one that made the tokens."""
    got = tokenizer.content_hash()
    if got != index.tokenizer_hash:
        raise ValueError(
            f"prepared:{directory}: got a tokenizer of hash {got[:12]}, expected "
            f"{index.tokenizer_hash[:12]}, of the one in {directory / 'tokenizer'}, which made the "
            "tokens"
        )
