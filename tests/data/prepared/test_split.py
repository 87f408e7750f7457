"""Shards as one stream, against the same texts encoded one after another."""

import json

import numpy as np
import pytest

from gptjax.data import load_corpus
from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.data.prepared.split import open_prepared
from gptjax.tokenization import load_tokenizer
from tests.data.prepared.conftest import TEXTS
from tests.support.prepared import write_prepared


def texts_of(*begins):
    return [
        text for name, texts in sorted(TEXTS.items()) if name.startswith(begins) for text in texts
    ]


def test_a_stream_reads_like_one_array(folder, tokenizer, stream_of):
    opened = open_prepared(folder, tokenizer)
    for split, texts in (
        (opened.train, texts_of("train")),
        (opened.validation, texts_of("validation")),
        (opened.sources["books"].train, texts_of("train/books")),
    ):
        expected, starts = stream_of(texts)
        assert len(split.tokens) == len(expected) == split.num_targets + 1
        np.testing.assert_array_equal(split.tokens[:], expected)
        np.testing.assert_array_equal(split.tokens[3:200:7], expected[3:200:7])
        places = np.random.default_rng(0).integers(0, len(expected), (5, 6))
        np.testing.assert_array_equal(split.tokens[places], expected[places])
        np.testing.assert_array_equal(np.asarray(split.document_starts), starts)
        assert split.num_bytes == sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize("masking", [False, True])
def test_its_windows_are_those_of_a_split_in_memory(folder, tokenizer, stream_of, masking):
    texts = texts_of("train")
    tokens, starts = stream_of(texts)
    sizes = np.array([len(text.encode()) for text in texts])
    expected = TokenizedSplit("in memory", tokens.astype(np.uint16), starts, sizes)
    opened = open_prepared(folder, tokenizer).train
    windows = np.array([0, 5, 3, expected.num_targets // 16 + 3])
    wanted = expected.batch(windows, 16, masking)
    for key, values in opened.batch(windows, 16, masking).items():
        np.testing.assert_array_equal(values, wanted[key])


def test_a_document_is_known_by_its_number(folder):
    opened = open_prepared(folder)
    assert opened.train.about(3) == {"source": "books", "id": "train/books-00001 0"}
    assert opened.train.about(44)["id"] == "train/web-00000 1"
    assert opened.everything.about(45)["id"] == "validation/books-00001 0"


def test_another_tokenizer_is_refused(folder):
    with pytest.raises(ValueError, match=r"got a tokenizer of hash .*, which made the tokens"):
        open_prepared(folder, load_tokenizer("bytes"))


def test_a_folder_that_is_not_whole_is_refused_by_name(folder, tmp_path):
    path = folder / "train/web-00000.documents"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"web-00000\.documents: got \d+ bytes, expected"):
        open_prepared(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"web-00000\.documents: No such file"):
        open_prepared(folder)
    path.write_bytes(content)
    index = json.loads((folder / "index.json").read_text())
    for change, expected in (
        ({"packing": "best_fit"}, "got an altered index"),
        ({"format": 99}, "got format 99, expected 1"),
        ({"extra": 1}, "got a damaged index"),
    ):
        (folder / "index.json").write_text(json.dumps(index | change))
        with pytest.raises(ValueError, match=expected):
            open_prepared(folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(ValueError, match=r"index\.json: got a damaged index"):
        open_prepared(folder)
    (folder / "index.json").unlink()
    with pytest.raises(ValueError, match=r"no index\.json .*prepare_data"):
        open_prepared(folder)


def test_as_a_corpus_it_gives_the_texts(folder):
    corpus = load_corpus(f"prepared:{folder}")
    expected = [text for text in texts_of("train", "validation") if text]
    assert [document.text for document in corpus] == expected
    assert next(iter(corpus)).name == "books: train/books-00000 0"
    is_held_out = corpus.held_out(0.9)  # what was held out is, whatever is asked
    assert list(filter(is_held_out, corpus)) == list(corpus)[-2:]
    with pytest.raises(ValueError, match="got no folder"):
        load_corpus("prepared:")


def test_a_vocabulary_without_an_end_of_text(tmp_path):
    tokenizer = load_tokenizer("bytes")
    write_prepared(tmp_path, {"train/web-00000": ["ab", "cd"]}, tokenizer, {"web": 1.0})
    opened = open_prepared(tmp_path, tokenizer)
    assert opened.train.tokens[:].tolist() == list(b"abcd")
    assert [document.text for document in load_corpus(f"prepared:{tmp_path}")] == ["ab", "cd"]
