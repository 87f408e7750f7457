"""Equal documents, lines and paragraphs, against loops and against allenai/dolma's own results."""

import gzip
import itertools
import json
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest

from gptjax.curation import batches as batching
from gptjax.curation.deduplication.exact import first_of_equal, repeated_pieces
from gptjax.curation.deduplication.pieces import pieces, without
from gptjax.curation.document import Document, Dropped
from gptjax.curation.executors.tasks import InProcess
from gptjax.curation.phases import exact
from gptjax.curation.pipeline.documents import RunWriter
from gptjax.curation.pipeline.work import Run, Work, dropped_rows, runs_folder


def random_texts(count, seed=0):
    rng = random.Random(seed)
    ends = ["\n", "\n\n", "\n \t\n", "\r\n", "", " ", "\n\n\n"]
    lines = ["one", " two", "three \r", "é\u2003", "漢字", "a b", "", "one\0"]
    return [
        "".join(rng.choice(lines) + rng.choice(ends) for _ in range(rng.randrange(12)))
        for _ in range(count)
    ]


def spans_of(text, unit):
    """Spans with the text that counts, by regular expressions."""
    if unit == "line":
        found = re.finditer(r"[^\n]+\n?", text)
    else:
        found = re.finditer(r"(?:[^\n]*[^\s][^\n]*(?:\n|\Z))+", text)
    return [(*match.span(), match[0].strip()) for match in found if match[0].strip()]


@pytest.mark.parametrize("unit", ["line", "paragraph"])
def test_pieces_are_those_of_regular_expressions(unit):
    texts = [*random_texts(300), "", "\n", "é\n\nb"]
    found = pieces(texts, unit)
    expected = [spans_of(text, unit) for text in texts]
    assert found.hashes.counts.tolist() == [len(spans) for spans in expected]
    flat = [span for spans in expected for span in spans]
    assert found.spans.tolist() == [[start, end] for start, end, _ in flat]
    by_text = dict(zip((t for *_, t in flat), found.hashes.values.tolist(), strict=True))
    assert [by_text[text] for *_, text in flat] == found.hashes.values.tolist()
    assert len(set(by_text.values())) == len(by_text) >= 6
    alone = [pieces([text], unit) for text in texts]
    np.testing.assert_array_equal(np.concatenate([a.spans for a in alone]), found.spans)


def test_short_pieces_do_not_count():
    assert pieces(["ab\n abc \nabcd"], "line", shortest=3).spans.tolist() == [[3, 9], [9, 13]]


def test_long_pieces_count_to_their_end():
    values = pieces(["a" * 100_000 + "b\n" + "a" * 100_000 + "c"], "line").hashes.values
    assert values[0] != values[1]


def test_a_text_without_spans():
    assert without("0123456789", np.array([[0, 2], [4, 5], [9, 10]])) == "235678"
    assert without("0123", np.zeros((0, 2), np.int64)) == "0123"


def test_the_first_of_equal_ones():
    values, ranks = np.array([5, 3, 5, 5, 3]), np.array([2, 0, 1, 1, 0])
    assert first_of_equal(values, ranks).tolist() == [2, 1, 2, 2, 1]
    assert first_of_equal(values[:0], ranks[:0]).tolist() == []


def made():
    """Documents in which sentences and whole texts repeat."""
    rng = random.Random(0)
    texts = ["\n".join(rng.choices([f"line {i}" for i in range(40)], k=6)) for _ in range(30)]
    return [
        Document(f"{i}", rng.choice(texts), rng.choice(["web", "books"])) for i in range(60)
    ] + [Document("short", "line 1", "web"), Document("again", "line 1\n\nline 1", "books")]


def in_order(documents, priority):
    return sorted(documents, key=lambda d: (priority.index(d.source), d.key))


@pytest.mark.parametrize("documents_a_part", [1, 7, 8_000_000])
def test_the_first_of_equal_documents_stays(monkeypatch, tmp_path, documents_a_part):
    """As a phase: in several runs, and in parts of any size."""
    monkeypatch.setattr(exact, "_PART_DOCUMENTS", documents_a_part)
    documents, priority = made(), ["books", "web"]
    first, expected = {}, {}
    for document in in_order(documents, priority):
        if document.text in first:
            expected[document.source, document.id] = f"the text of {first[document.text]}"
        else:
            first[document.text] = f"{document.source}: {document.id}"
    random.Random(documents_a_part).shuffle(documents)
    runs = []
    for source, part in itertools.product(("web", "books"), range(2)):
        writer = RunWriter(runs_folder(tmp_path), f"{source}-{part}", most_bytes=1 << 20)
        for document in documents[part::2]:
            if document.source == source:
                writer.add(document)
        runs += [Run(name, source) for name in writer.finish()]
    progress = SimpleNamespace(phase=lambda *_: None, advance=lambda: None)
    counts = exact.drop_equal(Work(tmp_path, InProcess(), progress), runs, priority, ())
    found = list(dropped_rows(tmp_path))
    assert {(row["source"], row["id"]): row["detail"] for row in found} == expected
    assert {row["reason"] for row in found} == {"deduplication.equal_document"}
    assert sum(sum(of_run.values()) for of_run in counts) == len(expected) > 20


@pytest.mark.parametrize("characters", [1, 100, 1 << 20])
def test_the_first_of_equal_lines_stays(monkeypatch, characters):
    monkeypatch.setattr(batching, "_CHARACTERS", characters)
    documents, priority = made(), ["web", "books"]
    seen, expected = set(), {}
    for document in in_order(documents, priority):
        kept = []
        for line in document.text.split("\n"):
            if line not in seen:
                kept.append(line)
                seen.update([line] if line else [])
        expected[document.key] = "\n".join(kept)
    random.Random(characters).shuffle(documents)
    found = repeated_pieces(lambda: documents, "line", priority)
    dropped = 0
    for document in documents:
        cut = found.cut(document)
        if isinstance(cut, Dropped):
            assert not expected[document.key].strip()
            assert cut.reason == "deduplication.repeated_lines"
            lines = sum(bool(line) for line in document.text.split("\n"))
            assert cut.detail == f"all of its {lines} lines stand elsewhere"
            dropped += 1
        else:
            assert cut.text.rstrip("\n") == expected[document.key].rstrip("\n")
    assert dropped > 10
    assert found.pieces == sum(len(re.findall(r"[^\n]+", d.text)) for d in documents)


def test_a_document_without_repetitions_is_left_as_it_is():
    document = Document("a", "One.\n\nTwo.", "web")
    assert repeated_pieces(lambda: [document], "paragraph", ["web"]).cut(document) is document


# tests/data/expected/dedupe-paragraphs.json.gz of allenai/dolma @ 669f5348: one document has spans.
DOLMA_ADJACENT = [
    [0, 10, 25, 43, 62, 75],
    [
        2790,
        2873,
        2933,
        2959,
        2990,
        3058,
        3099,
        3141,
        3181,
        3195,
        3209,
        3227,
        3246,
        3271,
        3283,
        3299,
        3319,
        3332,
        3355,
        3366,
        3384,
        3403,
        3418,
        3446,
        3466,
        3485,
        3500,
        3519,
        3539,
        3560,
        3577,
        3593,
        5557,
        5570,
        5583,
        5610,
        5651,
        5788,
        5836,
    ],
]


def test_spans_are_those_of_dolma(shared_data):
    """The expected output of its test of paragraphs, which are lines here, in the order of a file.

    Its last span ends one character behind the text, because it compares a number of characters
    with one of bytes.
    """
    path = shared_data / "noisy_web/dolma_cc/provided/deduper/documents/000.json.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    found = pieces(texts, "line")
    first = first_of_equal(found.hashes.values, found.hashes.owners())
    repeated = np.flatnonzero(first != np.arange(len(first)))
    assert set(found.hashes.owners()[repeated].tolist()) == {1}
    expected = [list(span) for edges in DOLMA_ADJACENT for span in itertools.pairwise(edges)]
    length = len(texts[1])
    assert expected[-1][1] == length + 1
    expected[-1][1] = length
    assert found.spans[repeated].tolist() == expected
