"""Near-duplicates from documents to rows of JSON, against sets, and in any order and division."""

import functools
import itertools
import json
import random
import tracemalloc

import numpy as np
import pytest

from gptjax.curation import batches as batching
from gptjax.curation.deduplication.near_duplicates import (
    clustered,
    compared,
    joined,
    near_duplicates,
    sign,
)
from gptjax.curation.deduplication.scheme import MinHash
from gptjax.curation.deduplication.signatures import shingle_sets
from gptjax.curation.document import Document, Dropped

SCHEME = MinHash(shingle_words=2, threshold=0.5)


def made(seed=0, families=25):
    """Families of documents in which each is another with some words changed."""
    rng = random.Random(seed)
    documents = []
    for family in range(families):
        words = [f"w{rng.randrange(500)}" for _ in range(40)]
        for copy in range(rng.choice([1, 1, 2, 4])):
            source = rng.choice(["web", "books"])
            documents.append(Document(f"{family}.{copy}", " ".join(words), source))
            words = words[: rng.randrange(30, 41)]
            words[rng.randrange(len(words))] = "changed"
    return [*documents, Document("blank", " ", "web"), Document("blank too", "--", "web")]


def rows(found):
    return json.dumps([found.names, list(found.pair_rows()), list(found.cluster_rows())])


def test_pairs_are_those_whose_sets_are_alike():
    documents = made()
    many = MinHash(shingle_words=2, threshold=0.5, bands=200)  # misses one in 2^200
    found = near_duplicates(lambda: documents, many, ["books", "web"])
    sets = {}
    for document in documents:
        words = document.text.split()
        sets[document.source, document.id] = set(itertools.pairwise(words))
    expected = {}
    for a, b in itertools.combinations(sets, 2):
        similarity = len(sets[a] & sets[b]) / max(len(sets[a] | sets[b]), 1)
        if similarity >= 0.5:
            expected[frozenset([a, b])] = similarity
    pairs = [frozenset([found.names[a], found.names[b]]) for a, b in found.pairs]
    assert dict(zip(pairs, found.similarities, strict=True)) == expected
    assert len(expected) > 15 and found.left_out == 0
    assert found.candidates > len(expected)


def test_one_of_each_cluster_stays():
    documents = made()
    found = near_duplicates(lambda: documents, SCHEME, ["books", "web"])
    drops = found.drops()
    names = {document.key: (document.source, document.id) for document in documents}
    texts = {(document.source, document.id): document.text for document in documents}
    clusters = list(found.cluster_rows())
    assert {names[key] for key in drops} == {name for c in clusters for name in c["dropped"]}
    assert found.keeps.sum() == len(documents) - len(drops)
    for cluster in clusters:
        for name in cluster["dropped"]:
            # Books before web; then the longer text.
            better, worse = cluster["kept"], name
            assert (better[0], -len(texts[better])) <= (worse[0], -len(texts[worse]))
    key = next(iter(drops))
    cluster = next(c for c in clusters if names[key] in c["dropped"])
    kept = "{}: {}".format(*cluster["kept"])
    assert drops[key] == Dropped("deduplication.near_duplicate", f"in a cluster with {kept}")
    assert len(clusters) > 5


@pytest.mark.parametrize("characters", [1, 500, 1 << 20])
def test_neither_order_nor_division_matters(monkeypatch, characters):
    documents = made()
    # Few neighbours, so that some pairs are left out: always the same ones.
    scheme = MinHash(shingle_words=1, threshold=0.5, neighbours=3)
    expected = near_duplicates(lambda: documents, scheme, ["web", "books"])
    assert expected.left_out > 0
    monkeypatch.setattr(batching, "_CHARACTERS", characters)
    random.Random(characters).shuffle(documents)
    found = near_duplicates(lambda: iter(documents), scheme, ["web", "books"])
    assert rows(found) == rows(expected)
    assert (found.candidates, found.left_out) == (expected.candidates, expected.left_out)


def test_the_steps_can_be_run_in_many_places():
    documents = made()
    expected = near_duplicates(lambda: documents, SCHEME, ["books", "web"])
    parts = [documents[i : i + 7] for i in range(0, len(documents), 7)]
    signed = joined([sign(part, SCHEME) for part in parts], SCHEME)
    found = compared(signed, SCHEME)
    sets, start = [], 0
    for part in parts:
        wanted = found.wanted[start : start + len(part)]
        texts = [document.text for document, want in zip(part, wanted, strict=True) if want]
        sets.append(shingle_sets(texts, SCHEME))
        start += len(part)
    assert rows(clustered(signed, found, sets, SCHEME, ["books", "web"])) == rows(expected)
    assert 0 < found.wanted.sum() < len(documents)


def test_a_pair_of_just_the_threshold_is_one():
    documents = [Document("1", "a b c", "web"), Document("2", "a b d", "web")]
    found = near_duplicates(lambda: documents, MinHash(shingle_words=1, threshold=0.5), ["web"])
    assert [row["jaccard"] for row in found.pair_rows()] == [0.5]


def test_documents_without_duplicates_all_stay():
    documents = [Document(str(i), f"words of number {i} alone", "web") for i in range(5)]
    found = near_duplicates(lambda: documents, MinHash(), ["web"])
    assert found.keeps.all() and not found.drops()
    assert not list(found.pair_rows()) and not list(found.cluster_rows())


@pytest.mark.slow
def test_memory_is_that_of_a_batch_and_of_signatures(monkeypatch):
    """Of 6 MB of text none is kept: 16 times a batch of 64 kB, and 500 bytes a document."""
    vocabulary = [f"w{number}" for number in range(10_000)]

    def read():
        rng = np.random.default_rng(0)
        for number in range(3_000):
            words = [vocabulary[rank] for rank in rng.integers(0, len(vocabulary), 350)]
            yield Document(str(number), " ".join(words), "web")

    monkeypatch.setattr(batching, "_CHARACTERS", 1 << 16)
    near_duplicates(lambda: [Document("a", "é", "web")], MinHash(), ["web"])  # tables are made
    tracemalloc.start()
    try:
        found = near_duplicates(read, MinHash(), ["web"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.keeps.all() and peak < 16 * (1 << 16) + 500 * 3_000


def test_what_is_wrong_with_documents_is_said():
    run = functools.partial(near_duplicates, scheme=SCHEME, priority=["web"])
    with pytest.raises(ValueError, match="got no documents, expected one at least"):
        run(lambda: [])
    twice = [Document("a", "x", "web"), Document("b", "x", "web"), Document("a", "y", "web")]
    with pytest.raises(ValueError, match="got the id 'a' of 'web' twice"):
        run(lambda: twice)
    with pytest.raises(ValueError, match=r"unknown corpus in near-duplicates 'book'.*: web"):
        run(lambda: [Document("a", "x", "book")])
    readings = iter([[Document("a", "x", "web")], []])
    with pytest.raises(ValueError, match="expected the same 1 documents in the same order"):
        run(lambda: next(readings))
    readings = iter([[Document("a", "x", "web")], [Document("b", "x", "web")]])
    with pytest.raises(ValueError, match="document 1 is another the second time"):
        run(lambda: next(readings))


def test_signatures_do_not_change_from_version_to_version():
    """Ones that were stored can be compared with new ones."""
    signed = sign([Document("a", "The same five words again", "web")], MinHash())
    assert signed.signatures.dtype == np.uint32
    assert signed.signatures[0].tolist() == [
        619940192,
        15538443,
        1717091477,
        1439611084,
        1923898785,
        1396833074,
        1753944101,
        2813233213,
        2609952324,
        2582115615,
    ]
