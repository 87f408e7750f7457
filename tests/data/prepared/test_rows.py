"""Rows of prepared data against loops over the documents, and what mixtures take of them."""

import collections
import dataclasses

import numpy as np
import pytest

from gptjax.data.prepared.ledger import mixed_passages
from gptjax.data.prepared.rows import mixture_of, rows_of
from gptjax.data.prepared.split import open_prepared
from gptjax.tokenization import load_tokenizer
from tests.data.prepared.conftest import TEXTS
from tests.support.prepared import write_prepared

T = 24


def packed(folder, packing):
    opened = open_prepared(folder)
    return dataclasses.replace(opened, index=dataclasses.replace(opened.index, packing=packing))


def pieces_of(texts, tokenizer):
    """(tokens, targets) of each piece of at most T places of each document, by a loop."""
    end, made = tokenizer.end_of_text, []
    for text in texts:
        stream = [end, *tokenizer.encode(text).tolist(), end]
        for first in range(0, len(stream) - 1, T):
            places = range(first, min(first + T, len(stream) - 1))
            made.append((tuple(stream[i] for i in places), tuple(stream[i + 1] for i in places)))
    return made


@pytest.mark.parametrize("packing", ["best_fit", "document"])
def test_every_piece_is_in_one_row_hidden_from_the_others(folder, tokenizer, packing):
    opened = packed(folder, packing)
    rows = rows_of(opened.train, opened.index, T, document_masking=False)
    batch = rows.batch(np.arange(len(rows)))
    found, padding = [], 0
    for row in range(len(rows)):
        segments = batch["segment_ids"][row]
        padding += int((segments == -1).sum())
        assert (batch["loss_weights"][row] == (segments >= 0)).all()
        for segment in range(segments.max() + 1):
            here = segments == segment
            found.append((tuple(batch["tokens"][row][here]), tuple(batch["targets"][row][here])))
            assert batch["positions"][row][here].tolist() == list(range(here.sum()))
        if packing == "document":
            assert segments.max() == 0
    texts = [text for name, texts in TEXTS.items() if name.startswith("train") for text in texts]
    expected = pieces_of(texts, tokenizer)
    assert collections.Counter(found) == collections.Counter(expected)
    assert rows.fill == pytest.approx(1 - padding / (T * len(rows)))


def test_best_fit_takes_fewer_rows_than_one_document_a_row(folder):
    counts = {}
    for packing in ("best_fit", "document"):
        opened = packed(folder, packing)
        counts[packing] = len(rows_of(opened.train, opened.index, T, False))
    places = len(open_prepared(folder).train.tokens) - 1
    assert -(-places // T) <= counts["best_fit"] < counts["document"]


def test_documents_of_bytes_predict_nothing_of_their_neighbours(tmp_path):
    tokenizer = load_tokenizer("bytes")
    texts = ["abc", "d", "", "efghi"]
    write_prepared(
        tmp_path, {"train/web-00000": texts}, tokenizer, {"web": 1.0}, packing="document"
    )
    opened = open_prepared(tmp_path)
    batch = rows_of(opened.train, opened.index, 8, False).batch(np.arange(2))
    inputs = [
        bytes(row[weights > 0].tolist())
        for row, weights in zip(batch["tokens"], batch["loss_weights"], strict=True)
    ]
    targets = [
        bytes(row[weights > 0].tolist())
        for row, weights in zip(batch["targets"], batch["loss_weights"], strict=True)
    ]
    assert (inputs, targets) == ([b"ab", b"efgh"], [b"bc", b"fghi"])


@pytest.mark.parametrize("packing", ["concatenate", "best_fit", "document"])
def test_a_mixture_takes_each_row_once_an_epoch_by_weight(folder, packing):
    mixture = mixture_of(packed(folder, packing), T, False, seed=1)
    sizes = {name: len(rows) for name, rows in mixture.sources.items()}
    taken = 4 * 30
    sources, indices = mixture.locate(np.arange(taken))
    for place, (name, size) in enumerate(sizes.items()):
        of_source = indices[sources == place]
        assert len(of_source) == taken * (3 if name == "books" else 1) // 4
        for first in range(0, len(of_source) - size + 1, size):
            assert sorted(of_source[first : first + size]) == list(range(size))


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_the_ledger_names_what_is_in_a_row(folder, tokenizer, packing):
    mixture = mixture_of(packed(folder, packing), T, False, seed=0)
    texts = {f"{name} {n}": text for name, of in TEXTS.items() for n, text in enumerate(of)}
    batch = mixture.batch(np.arange(9))
    passages, names = mixed_passages(mixture, range(9))
    at = collections.Counter()
    for passage in passages:
        text = texts[names[passage.document].partition(": ")[2]]
        stream = [tokenizer.end_of_text, *tokenizer.encode(text).tolist()]
        here = batch["tokens"][passage.row][at[passage.row] :][: passage.tokens]
        assert here.tolist() == stream[passage.first : passage.first + passage.tokens]
        at[passage.row] += passage.tokens
    if packing == "concatenate":
        assert set(at.values()) == {T}
