"""Token files: a corpus tokenised once, opened in milliseconds ever after, and cut into windows.

    prepared = prepare(load_corpus("python_docs"), tokenizer, "cache", validation_fraction=0.05)
    prepared.train.batch(np.arange(8), context_length=256)["tokens"]

Each split is one stream, `<eot> document <eot> document ... <eot>`, as GPT-2 and GPT-3 pack theirs
(arXiv 2005.14165, appendix B): every token of a document, and the end-of-text after it, is
predicted exactly once, the first token of a document from the end-of-text before it. Window i of T
tokens starts at token i T, so that all windows together, the last of them partial, cover each
target once. Raw bytes and GPT-1's vocabulary have no end-of-text: their documents follow each other
directly, and the very first token is never predicted.
"""

import array
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging

from gptjax.data.corpora.text import Corpus, Document, is_held_out
from gptjax.tokenization import Tokenizer

FORMAT_VERSION = 1  # to be raised with any change of the files' layout or of the packing

SPLITS = ("train", "validation")

_CHARACTERS_A_CALL = 1 << 20  # of text, handed to the tokenizer at once

HostBatch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TokenizedSplit:
    """The token stream of one split; arrays lie in files and are read where they are touched.

    Attributes:
      name: what the split is called in messages: "train split of python_docs".
      tokens: the stream, [N] uint16 or uint32.
      document_starts: place in the stream of each document, from the end-of-text before it on
        where there is one, [D] int64.
      document_bytes: length of each document in bytes, [D] int64.
    """

    name: str
    tokens: np.ndarray
    document_starts: np.ndarray
    document_bytes: np.ndarray

    @property
    def num_targets(self) -> int:
        """Tokens that are predicted: all but the first."""
        return len(self.tokens) - 1

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the documents; bits per byte = nats of all targets / (ln 2 x this)."""
        return int(self.document_bytes.sum())

    @property
    def bytes_per_target(self) -> float:
        """UTF-8 bytes of the documents over targets."""
        return self.num_bytes / self.num_targets

    def full_windows(self, context_length: int) -> int:
        """The number of windows whose `context_length` targets all exist.

        Raises:
          ValueError: there is none.
        """
        if self.num_targets < context_length:
            raise ValueError(
                f"the {self.name} has {self.num_targets} tokens; expected at least one window "
                f"of context_length = {context_length}"
            )
        return self.num_targets // context_length

    def all_windows(self, context_length: int) -> int:
        """The number of windows that hold every target; the last may be partial."""
        return -(-self.num_targets // context_length)

    def batch(
        self, windows: np.ndarray, context_length: int, document_masking: bool = False
    ) -> HostBatch:
        """Gathers windows, given by index, in any order.

        Args:
          windows: which windows, [B] int64. What lies past the end of the stream, be it the rest
            of the last window or windows after it, is padding.
          context_length: T, tokens a window.
          document_masking: adds `segment_ids` and `positions`. An end-of-text belongs to the
            document that follows.

        Returns:
          tokens, targets: [B, T] int32. targets are the tokens that follow; padding repeats
            the last token.
          loss_weights: [B, T] float32, 0 on padding, 1 elsewhere.
          segment_ids: [B, T] int32, the documents in a window counted from 0; -1 is padding.
          positions: [B, T] int32, tokens since the document, or else the window, began.
        """
        last = len(self.tokens) - 1
        places = windows[:, None] * context_length + np.arange(context_length + 1)
        stream = self.tokens[np.minimum(places, last)].astype(np.int32)
        inputs, is_target = places[:, :-1], places[:, 1:] <= last
        batch = {
            "tokens": np.ascontiguousarray(stream[:, :-1]),
            "targets": np.ascontiguousarray(stream[:, 1:]),
            "loss_weights": is_target.astype(np.float32),
        }
        if document_masking:
            document = np.searchsorted(self.document_starts, inputs, side="right") - 1
            segment_ids = np.where(is_target, document - document[:, :1], -1)
            starts = np.maximum(self.document_starts[document], inputs[:, :1])
            batch["segment_ids"] = segment_ids.astype(np.int32)
            batch["positions"] = (inputs - starts).astype(np.int32)
        return batch


@dataclasses.dataclass(frozen=True)
class PreparedCorpus:
    """Both splits of a tokenised corpus, and what they were made from.

    Attributes:
      directory: where the files lie.
      corpus_hash: `content_hash` of the corpus.
      tokenizer_hash: `content_hash` of the tokenizer.
      train: documents to train on.
      validation: documents held out.
    """

    directory: Path
    corpus_hash: str
    tokenizer_hash: str
    train: TokenizedSplit
    validation: TokenizedSplit

    @property
    def hashes(self) -> dict[str, str]:
        """The content hashes by name, as work directories and checkpoints record them."""
        return {"corpus_hash": self.corpus_hash, "tokenizer_hash": self.tokenizer_hash}


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
      corpus: what to tokenise; read once, a few documents in memory at a time.
      tokenizer: its end-of-text, where it has one, goes before and after each document.
      cache_dir: the folder for the token files of all corpora; made if missing.
      validation_fraction: share of the documents to hold out, by `corpora.is_held_out`.

    Raises:
      ValueError: a split has no documents, the corpus cannot be read, or the cache cannot be
        written or is damaged.
    """
    cache = Path(cache_dir)
    tokenizer_hash = tokenizer.content_hash()
    try:
        fingerprint = corpus.fingerprint()
        remembered = cache / "corpus_hashes" / str(fingerprint)
        corpus_hash = remembered.read_text() if remembered.exists() else None
        directory = cache / _key(corpus_hash, tokenizer_hash, validation_fraction)
        if corpus_hash is None or not directory.exists():
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="unfinished-", dir=cache) as unfinished:
                written = Path(unfinished) / "splits"
                corpus_hash = _write(corpus, tokenizer, written, validation_fraction)
                directory = cache / _key(corpus_hash, tokenizer_hash, validation_fraction)
                _rename_unless_there(written, directory)
            if fingerprint is not None and fingerprint == corpus.fingerprint():
                remembered.parent.mkdir(exist_ok=True)
                remembered.write_text(corpus_hash)
        train, validation = _open(directory, corpus.name)
    except OSError as error:
        raise ValueError(
            f"cannot keep tokens in {error.filename or cache}: {error.strerror}; "
            "expected a writable directory with space left"
        ) from error
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
    content = hashlib.sha256()
    splits = train, validation = [_SplitWriter(directory, name, tokenizer) for name in SPLITS]
    with train, validation:
        for documents in _groups(corpus):
            encoded = tokenizer.encode_batch([document.text for document in documents])
            for document, tokens in zip(documents, encoded, strict=True):
                content.update(document.digest)
                split = validation if is_held_out(document, validation_fraction) else train
                split.append(document, tokens)
    for split in splits:
        if not split.starts:
            raise ValueError(
                f"the {split.name} split of {corpus.name!r} has none of its "
                f"{sum(len(s.starts) for s in splits)} document(s) at validation_fraction = "
                f"{validation_fraction}; expected another fraction or more documents"
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


def _groups(corpus: Corpus) -> Iterator[list[Document]]:
    group, characters = [], 0
    for document in corpus:
        group.append(document)
        characters += len(document.text)
        if characters >= _CHARACTERS_A_CALL:
            yield group
            group, characters = [], 0
    yield group


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


def _open(directory: Path, corpus_name: str) -> list[TokenizedSplit]:
    metadata = json.loads((directory / "metadata.json").read_text())
    splits = []
    for name in SPLITS:
        split = TokenizedSplit(
            f"{name} split of {corpus_name!r}",
            np.memmap(directory / f"{name}.tokens", dtype=metadata["dtype"], mode="r"),
            np.load(directory / f"{name}.document_starts.npy"),
            np.load(directory / f"{name}.document_bytes.npy"),
        )
        expected = metadata["splits"][name]
        got = {
            "tokens": len(split.tokens),
            "documents": len(split.document_starts),
            "bytes": split.num_bytes,
        }
        if got != expected:
            raise ValueError(
                f"damaged token files in {directory}: the {name} split has {got}, expected "
                f"{expected}; delete the directory to have it made again"
            )
        splits.append(split)
    return splits
