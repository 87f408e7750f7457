"""Prepared data made by a test, without a preparation.

write_prepared(tmp_path, {"train/books-00000": ["text", ...], "train/web-00000": [...]})
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gptjax.curation.document import document_key
from gptjax.data.prepared.index import PreparedIndex, token_dtype, write_index
from gptjax.data.prepared.shard_files import ShardDocument, write_shard
from gptjax.tokenization import Tokenizer


def write_prepared(
    directory: Path,
    shards: Mapping[str, Sequence[str]],
    tokenizer: Tokenizer,
    weights: Mapping[str, float],
    packing: str = "concatenate",
) -> PreparedIndex:
    """Writes texts as shards of these names; the id of the third text of a shard is "NAME 2"."""
    tokenizer.save(directory / "tokenizer")
    dtype, entries = token_dtype(tokenizer.vocab_size), []
    for name, texts in shards.items():
        source = name.partition("/")[2].rpartition("-")[0]
        documents = []
        for number, text in enumerate(texts):
            id, size = f"{name} {number}", len(text.encode())
            tokens = np.asarray(tokenizer.encode(text))
            key = document_key(source, id)
            documents.append(ShardDocument(key, {"id": id}, size, size, tokens))
        entries.append(write_shard(directory, name, documents, dtype, tokenizer.end_of_text))
    index = PreparedIndex(
        tokenizer_hash=tokenizer.content_hash(),
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        keeps_text=tokenizer.keeps_text,
        packing=packing,
        weights=weights,
        shards=tuple(sorted(entries, key=lambda entry: entry.name)),
        provenance={},
    )
    write_index(directory, index)
    return index
