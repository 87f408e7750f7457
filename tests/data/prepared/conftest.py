"""Two sources in three shards, and the stream that they must read as."""

import numpy as np
import pytest

from gptjax.tokenization import load_tokenizer
from tests.support.prepared import write_prepared

TEXTS = {
    "train/books-00000": ["one", "a second text, longer than others", ""],
    "train/books-00001": [f"text {i} " * (i % 7) for i in range(40)],
    "train/web-00000": ["of the web " * 9, "short"],
    "validation/books-00001": ["held out", "held out too"],
}


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer("python_docs_1024")


@pytest.fixture
def folder(tmp_path, tokenizer):
    write_prepared(tmp_path, TEXTS, tokenizer, {"books": 3.0, "web": 1.0})
    return tmp_path


@pytest.fixture(scope="session")
def stream_of(tokenizer):
    """From texts to the stream <eot> text <eot> text ... <eot>, and where documents start."""

    def make(texts):
        stream, starts = [], []
        for text in texts:
            starts.append(len(stream))
            stream += [tokenizer.end_of_text, *tokenizer.encode(text).tolist()]
        return np.array([*stream, tokenizer.end_of_text]), np.array(starts)

    return make
