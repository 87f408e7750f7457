"""A tokenizer whose ids can be told by hand: bytes, and 256 for end-of-text."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.data.corpora import text as corpora
from tests.support.remote import memory  # noqa: F401


class Bytes:
    keeps_text = True

    def __init__(self, vocab_size=257, end_of_text=256):
        self.vocab_size = vocab_size
        self.end_of_text = end_of_text
        self.texts_encoded = 0

    def encode_batch(self, texts):
        self.texts_encoded += len(texts)
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]

    def content_hash(self):
        return hashlib.sha256(f"{self.vocab_size} {self.end_of_text}".encode()).hexdigest()


@pytest.fixture
def make_tokenizer():
    return Bytes


@pytest.fixture
def settled(monkeypatch):
    """Lets files written just now have a fingerprint."""
    monkeypatch.setattr(corpora, "_SETTLED_SECONDS", float("-inf"))


def _stream(texts):
    stream = [256]
    for text in texts:
        stream += [*text.encode(), 256]
    return stream


@pytest.fixture
def make_split():
    """Returns a function from texts to the split that holds them, built without `prepare`."""

    def make(texts):
        lengths = [len(text.encode()) for text in texts]
        starts = [sum(lengths[:i]) + i for i in range(len(texts))]
        return TokenizedSplit(
            "train split of 'test'",
            np.array(_stream(texts), np.uint16),
            np.array(starts, np.int64),
            np.array(lengths, np.int64),
        )

    return make


@pytest.fixture
def text_folder(tmp_path) -> Path:
    """Forty small files of text, with blank and multi-byte ones among them."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(40):
        text = "" if i == 7 else f"text {i} — " + "αβγ 漢字 🙂 abc\n" * (i % 5)
        (folder / f"{i:02}.txt").write_text(text, encoding="utf-8")
    return folder
