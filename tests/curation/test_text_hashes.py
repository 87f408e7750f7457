"""Hashes of words against words that are made string by string."""

import random
import unicodedata

import numpy as np
import pytest

from gptjax.curation.text_hashes import hash_runs, hash_segments, hash_words, mixed

ALPHABET = "abcABC019 \t\n\r\x0b\x1c\x85\xa0,.-_'$+éÉßΣςİ漢字あ🙂\u0301\u200b\u2003\ud800"


def words_of(text):
    """The definition, one character at a time."""
    kept = []
    for character in text:
        if character.isspace():
            kept.append(" ")
        elif unicodedata.category(character)[0] in "LMN":
            kept.append(character.lower()[0])
    return "".join(kept).split()


def random_texts(count, length=60):
    rng = random.Random(0)
    alphabets = ALPHABET, ALPHABET[:30]  # the latter is ASCII, but for two
    return [
        "".join(rng.choices(alphabets[i % 2], k=rng.randrange(length))) for i in range(count)
    ] + ["", "   ", "--", "plain words of ASCII", "plain words of ASCII —"]


def test_words_are_told_apart_as_strings_are():
    texts = random_texts(300)
    found = hash_words(texts)
    words = [word for text in texts for word in words_of(text)]
    assert found.counts.tolist() == [len(words_of(text)) for text in texts]
    by_word = dict(zip(words, found.values.tolist(), strict=True))
    assert [by_word[word] for word in words] == found.values.tolist()
    assert len(set(by_word.values())) == len(by_word) > 500


@pytest.mark.parametrize("length", [1, 2, 5, 13])
@pytest.mark.parametrize("short", [False, True])
def test_runs_are_told_apart_as_tuples_of_words_are(length, short):
    texts = random_texts(200, length=120)
    expected = []
    for text in texts:
        words = words_of(text)
        runs = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
        expected.append(runs or ([tuple(words)] if short and words else []))
    found = hash_runs(hash_words(texts), length, short=short)
    assert found.counts.tolist() == [len(runs) for runs in expected]
    flat = [run for runs in expected for run in runs]
    by_run = dict(zip(flat, found.values.tolist(), strict=True))
    assert [by_run[run] for run in flat] == found.values.tolist()
    assert len(set(by_run.values())) == len(by_run) > 100


def test_a_hash_does_not_depend_on_what_stands_beside_it():
    texts = random_texts(100)
    together = hash_runs(hash_words(texts), 3)
    alone = [hash_runs(hash_words([text]), 3).values for text in texts]
    np.testing.assert_array_equal(together.values, np.concatenate(alone))
    # Over many blocks, and from text that has characters beyond ASCII beside it.
    long = "some words of a text " * 20_000
    several = hash_runs(hash_words([*texts, long, "é"]), 3)
    expected = hash_runs(hash_words(["some words of a text some words "]), 3).values
    tail = several.values[several.offsets[-3] : several.offsets[-2]]
    assert len(tail) == 99_998
    np.testing.assert_array_equal(tail, np.resize(expected[:5], len(tail)))


def test_a_long_word_counts_to_its_end():
    long = "a" * 200_000
    values = hash_words([f"x {long}b {long}c {long}b"]).values
    assert values[1] == values[3] != values[2]


def test_segments_may_overlap():
    values = np.arange(100_000, dtype=np.uint32) % 7 + 1
    starts = np.arange(0, 99_000, 7)
    found = hash_segments(values, starts, starts + 700)
    assert len(set(found.tolist())) == 1
    assert len(set(hash_segments(values, starts, starts + 1 + starts % 50).tolist())) == 50


def test_mixing_is_the_published_finaliser():
    """The first outputs of splitmix64 from the seed 1234567, as its reference code prints them."""
    gamma = np.uint64(0x9E3779B97F4A7C15)
    states = np.uint64(1234567) + np.arange(1, 4, dtype=np.uint64) * gamma
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert mixed(states).tolist() == expected
