"""Token files: a corpus tokenised once, opened in milliseconds ever after.

    prepared = prepare(load_corpus("python_docs"), tokenizer, "cache", validation_fraction=0.05)
    prepared.train.tokens

Each split is one stream of tokens, see `token_stream`.
"""

import array
import dataclasses
import functools
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from absl import logging

from gptjax.atomic_files import write_text
from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.data.batches.unfinished import unfinished_directory
from gptjax.data.corpora.groups import in_groups
from gptjax.data.corpora.text import Corpus, Document
from gptjax.data.prepared.split import OpenedData, open_prepared
from gptjax.tokenization import Tokenizer

FORMAT_VERSION = 1  # to be raised with any change of the files' layout or of the packing

SPLITS = ("train", "validation")

_CHARACTERS_A_CALL = 1 << 20  # of text, handed to the tokenizer at once


@dataclasses.dataclass(frozen=True)
class PreparedCorpus:
    """Both splits of a tokenised corpus, and what they were made from.

    Attributes:
      directory: where the files lie.
      corpus_hash: `content_hash` of the corpus.
      tokenizer_hash: `content_hash` of the tokenizer.
      train: documents to train on.
      validation: documents held out.
      opened: where `experiments.prepare_data` made them, its sources and their weights.
    """

    directory: Path
    corpus_hash: str
    tokenizer_hash: str
    train: TokenizedSplit
    validation: TokenizedSplit
    opened: OpenedData | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """The content hashes by name, as work directories and checkpoints record them."""
        return {"corpus_hash": self.corpus_hash, "tokenizer_hash": self.tokenizer_hash}


def opened_corpus(
    directory: str, tokenizer: Tokenizer, validation_fraction: float
) -> PreparedCorpus:
    """The corpus `prepared:DIRECTORY`, whose validation split was held out when it was prepared.

    Args:
      directory: output of `experiments.prepare_data`.
      tokenizer: of the model; it must have made the tokens.
      validation_fraction: 1 puts both splits into the validation split; all else changes nothing.

    Raises:
      ValueError: as `open_prepared`.
    """
    opened = open_prepared(directory, tokenizer)
    validation = opened.everything if validation_fraction == 1.0 else opened.validation
    validation.check_targets()
    return PreparedCorpus(
        opened.directory,
        opened.index.content_hash,
        opened.index.tokenizer_hash,
        opened.train,
        validation,
        opened,
    )


def prepare(
    corpus: Corpus,
    tokenizer: Tokenizer,
    cache_dir: str | os.PathLike[str],
    validation_fraction: float,
) -> PreparedCorpus:
    """Tokenises a corpus, or opens the files of an earlier call with the same contents.

    The files are kept under a key of the contents of corpus and tokenizer, the fraction and
    `FORMAT_VERSION`, and appear there all at once. The hash of a corpus whose files are as they
    were (see `Corpus.fingerprint`) is remembered, so that it need not be read again.

    Args:
      corpus: what to tokenise; read once but for its first documents, a few in memory at a time.
      tokenizer: its end-of-text, where it has one, goes before and after each document.
      cache_dir: the folder for the token files of all corpora; made if missing.
      validation_fraction: share of the documents to hold out, by `Corpus.held_out`; 1 leaves
        none to train on.

    Raises:
      ValueError: a split has no documents or nothing to predict, the corpus cannot be read, or
        the cache cannot be written or is damaged.
    """
    cache = Path(cache_dir)
    tokenizer_hash = tokenizer.content_hash()
    try:
        fingerprint = corpus.fingerprint()
        remembered = cache / "corpus_hashes" / str(fingerprint)
        corpus_hash = remembered.read_text() if remembered.exists() else None
        directory = cache / _key(corpus_hash, tokenizer_hash, validation_fraction)
        if corpus_hash is None or not directory.exists():
            with unfinished_directory(cache) as unfinished:
                written = unfinished / "splits"
                corpus_hash = _write(corpus, tokenizer, written, validation_fraction)
                directory = cache / _key(corpus_hash, tokenizer_hash, validation_fraction)
                _rename_unless_there(written, directory)
            if fingerprint is not None and fingerprint == corpus.fingerprint():
                remembered.parent.mkdir(exist_ok=True)
                write_text(remembered, corpus_hash)
        train, validation = _open(directory, corpus.name, tokenizer)
    except OSError as error:
        raise ValueError(
            f"cannot keep tokens in {error.filename or cache}: {error.strerror}; "
            "expected a writable directory with space left"
        ) from error
    validation.check_targets()
    return PreparedCorpus(directory, corpus_hash, tokenizer_hash, train, validation)


def _key(corpus_hash: str | None, tokenizer_hash: str, validation_fraction: float) -> str:
    contents = [FORMAT_VERSION, corpus_hash, tokenizer_hash, validation_fraction]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:32]


def _write(
    corpus: Corpus, tokenizer: Tokenizer, directory: Path, validation_fraction: float
) -> str:
    """Tokenises a corpus into a new directory; returns its content hash, taken on the way."""
    logging.info("tokenizing %s", corpus.name)
    directory.mkdir()
    content, is_held_out = hashlib.sha256(), corpus.held_out(validation_fraction)
    splits = train, validation = [_SplitWriter(directory, name, tokenizer) for name in SPLITS]
    with train, validation:
        for documents in in_groups(corpus, _CHARACTERS_A_CALL):
            encoded = tokenizer.encode_batch([document.text for document in documents])
            for document, tokens in zip(documents, encoded, strict=True):
                content.update(document.digest)
                split = validation if is_held_out(document) else train
                split.append(document, tokens)
    for split in splits:
        if not split.starts and validation_fraction < 1.0:
            raise ValueError(
                f"the {split.name} split of {corpus.name!r} has none of its "
                f"{sum(len(s.starts) for s in splits)} document(s) at validation_fraction = "
                f"{validation_fraction}; expected two documents of different text at least"
            )
    left, held_out = (split.counts()["bytes"] for split in splits)
    if held_out > 10 * validation_fraction * (left + held_out):
        logging.warning(
            "%s: %d of %d bytes are held out at validation_fraction = %s",
            *(corpus.name, held_out, left + held_out, validation_fraction),
        )
    metadata = {
        "corpus": corpus.name,
        "corpus_hash": content.hexdigest(),
        "tokenizer_hash": tokenizer.content_hash(),
        "validation_fraction": validation_fraction,
        "dtype": train.dtype.name,
        "splits": {split.name: split.counts() for split in splits},
    }
    (directory / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    return content.hexdigest()


class _SplitWriter:
    """Appends documents to the token stream of one split; leaving the context completes it."""

    def __init__(self, directory: Path, name: str, tokenizer: Tokenizer):
        self.name = name
        self.dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
        self.starts = array.array("q")
        self._bytes = array.array("q")
        self._length = 0
        self._directory = directory
        self._vocab_size = tokenizer.vocab_size
        separator = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
        self._separator = np.array(separator, np.int64)
        self._file = (directory / f"{name}.tokens").open("wb")

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._put(self._separator)
                np.save(self._directory / f"{self.name}.document_starts.npy", self.starts)
                np.save(self._directory / f"{self.name}.document_bytes.npy", self._bytes)

    def append(self, document: Document, tokens: np.ndarray) -> None:
        self.starts.append(self._length)
        self._bytes.append(len(document.content))
        self._put(self._separator)
        self._put(tokens)

    def _put(self, tokens: np.ndarray) -> None:
        assert tokens.size == 0 or 0 <= tokens.min() <= tokens.max() < self._vocab_size
        self._file.write(tokens.astype(self.dtype).tobytes())
        self._length += tokens.size

    def counts(self) -> dict[str, int]:
        return {
            "tokens": self._length,
            "documents": len(self.starts),
            "bytes": sum(self._bytes),
        }


def _rename_unless_there(source: Path, target: Path) -> None:
    """Another process may have tokenised the same corpus meanwhile; one copy is as good."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _open(directory: Path, corpus_name: str, tokenizer: Tokenizer) -> list[TokenizedSplit]:
    metadata = json.loads((directory / "metadata.json").read_text())
    splits = []
    for name in SPLITS:
        file, dtype = directory / f"{name}.tokens", metadata["dtype"]
        whole = metadata["validation_fraction"] == 1.0
        split = TokenizedSplit(
            f"text of {corpus_name!r}" if whole else f"{name} split of {corpus_name!r}",
            # No file without content can be mapped.
            np.memmap(file, dtype, "r") if file.stat().st_size else np.empty(0, dtype),
            np.load(directory / f"{name}.document_starts.npy"),
            np.load(directory / f"{name}.document_bytes.npy"),
            None if tokenizer.keeps_text else functools.partial(_decoded_bytes, tokenizer),
        )
        expected = metadata["splits"][name]
        got = {
            "tokens": len(split.tokens),
            "documents": len(split.document_starts),
            "bytes": int(split.document_bytes.sum()),
        }
        if got != expected:
            raise ValueError(
                f"damaged token files in {directory}: the {name} split has {got}, expected "
                f"{expected}; delete the directory to have it made again"
            )
        splits.append(split)
    return splits


def _decoded_bytes(tokenizer: Tokenizer, tokens: np.ndarray) -> int:
    """Bytes of the text of a document, with the end-of-text around it or without."""
    if tokenizer.end_of_text is not None:
        tokens = tokens[tokens != tokenizer.end_of_text]
    return tokenizer.decoded_bytes(tokens)
