"""Signatures, candidates, similarities and clusters against sets and loops."""

import itertools
import random

import numpy as np
import pytest

from gptjax.curation.deduplication import pairs as pairing
from gptjax.curation.deduplication.clusters import best_of, clusters
from gptjax.curation.deduplication.pairs import candidates, jaccard
from gptjax.curation.deduplication.scheme import SCHEMES, MinHash
from gptjax.curation.deduplication.signatures import EMPTY, ShingleSets, shingle_sets, signatures


def shingles_of(text, words):
    parts = text.lower().split()
    return {tuple(parts[i : i + words]) for i in range(max(len(parts) - words + 1, 1))}


def random_texts(count, words=40, vocabulary=6, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices("abcdefgh"[:vocabulary], k=words)) for _ in range(count)]


@pytest.mark.parametrize(("words", "block"), [(1, 1), (2, 200), (3, 1 << 22)])
def test_similarities_are_those_of_sets(monkeypatch, words, block):
    monkeypatch.setattr(pairing, "_BLOCK", block)
    texts = [*random_texts(30), "a b", "b a b a", "a"]
    scheme = MinHash(shingle_words=words)
    sets = ShingleSets.joined([shingle_sets(texts[:7], scheme), shingle_sets(texts[7:], scheme)])
    left, right = np.array(list(itertools.combinations(range(len(texts)), 2))).T
    real = [shingles_of(text, words) for text in texts]
    expected = [
        len(real[a] & real[b]) / len(real[a] | real[b]) for a, b in zip(left, right, strict=True)
    ]
    np.testing.assert_array_equal(jaccard(sets, left, right), expected)
    assert len(set(expected)) > 3


def test_values_of_signatures_agree_as_often_as_shingles_do():
    """5,000 hash functions: their share has a standard error of at most 0.0071."""
    scheme = MinHash(shingle_words=2, bands=5000)
    texts = random_texts(6, words=12, vocabulary=4)
    found = signatures(texts, scheme)
    for a, b in itertools.combinations(range(len(texts)), 2):
        left, right = shingles_of(texts[a], 2), shingles_of(texts[b], 2)
        expected = len(left & right) / len(left | right)
        assert abs((found[a] == found[b]).mean() - expected) < 4 * 0.0071


def test_the_hash_functions_are_independent():
    """Whether one agrees says nothing of whether another does: variance as of a binomial."""
    scheme = MinHash(shingle_words=1, bands=64)
    rng = random.Random(1)
    agreeing = []
    for _ in range(400):
        shared = [str(rng.random()) for _ in range(20)]
        pair = [" ".join([*shared, *(str(rng.random()) for _ in range(10))]) for _ in range(2)]
        left, right = signatures(pair, scheme)
        agreeing.append((left == right).sum())
    assert np.mean(agreeing) == pytest.approx(32, rel=0.03)
    assert np.var(agreeing) == pytest.approx(64 * 0.5 * 0.5, rel=0.25)


def test_a_text_without_words_is_like_nothing():
    scheme = MinHash()
    found = signatures(["", "- -", "a word"], scheme)
    assert (found[:2] == EMPTY).all() and (found[2] != EMPTY).all()
    assert len(candidates(found, scheme).pairs) == 0


@pytest.mark.parametrize(("bands", "rows"), [(10, 1), (4, 3)])
def test_candidates_agree_in_all_rows_of_a_band(bands, rows):
    scheme = MinHash(bands=bands, rows=rows)
    found = np.random.default_rng(0).integers(0, 9, (60, bands * rows), np.uint32)
    split = found.reshape(len(found), bands, rows)
    expected = [
        (a, b)
        for a, b in itertools.combinations(range(len(found)), 2)
        if (split[a] == split[b]).all(1).any()
    ]
    pairs = candidates(found, scheme)
    assert pairs.pairs.tolist() == [list(pair) for pair in expected]
    assert pairs.left_out == 0
    assert 0 < len(expected) < 60 * 59 / 2 - (rows > 1)


def test_documents_of_a_large_band_value_are_compared_with_those_behind_them():
    scheme = MinHash(bands=1, neighbours=3)
    rows = np.array([5, 7, 5, 5, 5, 7, 5, 5], np.uint32)[:, None]
    found = candidates(rows, scheme)
    fives = [0, 2, 3, 4, 6, 7]
    expected = [(fives[i], fives[j]) for i in range(6) for j in range(i + 1, min(i + 4, 6))]
    assert found.pairs.tolist() == sorted(map(list, [*expected, (1, 5)]))
    assert found.left_out == 6 * 5 // 2 - len(expected) == 3


def test_clusters_are_those_of_union_find():
    rng = random.Random(0)
    for pairs in range(0, 60, 6):
        edges = [(rng.randrange(40), rng.randrange(40)) for _ in range(pairs)]
        parents = list(range(40))

        def find(node, parents=parents):
            return node if parents[node] == node else find(parents[node])

        for a, b in edges:
            low, high = sorted((find(a), find(b)))
            parents[high] = low
        found = clusters(40, np.array(edges, np.int64).reshape(-1, 2))
        assert found.tolist() == [find(node) for node in range(40)]


def test_of_a_cluster_the_first_corpus_then_the_longest_then_the_first_stays():
    labels = np.array([0, 0, 0, 3, 3, 5, 5, 7])
    priorities = np.array([1, 0, 0, 1, 1, 2, 2, 0])
    lengths = np.array([99, 10, 11, 5, 5, 6, 7, 1])
    assert np.flatnonzero(best_of(labels, priorities, lengths)).tolist() == [2, 3, 6, 7]


def test_the_curves_of_the_schemes():
    """FineWeb, 2406.17557, section 3.4, gives four points of its own."""
    fineweb, gpt3 = SCHEMES.get("fineweb")(), SCHEMES.get("gpt3")()
    published = {0.7: 0.56, 0.75: 0.77, 0.8: 0.92, 0.85: 0.988}
    for similarity, probability in published.items():
        assert fineweb.probability(similarity) == pytest.approx(probability, abs=0.006)
    assert gpt3.hashes == 10
    assert gpt3.probability(0.5) == 1 - 2**-10
    with pytest.raises(ValueError, match=r"unknown MinHash scheme 'gtp3'.*'gpt3'"):
        SCHEMES.get("gtp3")
