"""Words and n-grams as arrays, against the same in loops over strings."""

import random
import re
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from gptjax.curation.heuristics import dividing
from gptjax.curation.heuristics.characters import ALPHABETIC, PLAIN, SYMBOLS
from gptjax.curation.heuristics.dividing import WORDS
from gptjax.curation.heuristics.grams import Grams
from gptjax.curation.heuristics.words import STOP_WORDS, hash_of
from tests.support.rule_documents import on_every_document, rule_documents

TEXTS = rule_documents()


def strings(words):
    return words.strings(0, len(words))


@on_every_document
def test_words_at_white_space_are_those_of_split(name):
    words = WORDS["white_space"](TEXTS[name])
    expected = TEXTS[name].split()
    assert strings(words) == expected
    assert words.lengths.tolist() == list(map(len, expected))
    assert words.hashes.tolist() == list(map(hash_of, expected))
    assert words.having(ALPHABETIC) == sum(any(map(str.isalpha, word)) for word in expected)
    assert words.having(PLAIN) == sum(not SYMBOLS.issuperset(word) for word in expected)
    assert words.stop_words().tolist() == [expected.count(word) for word in STOP_WORDS]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's a truth, isn't it?", "It 's a truth , isn 't it ?"),
        ("3.14 or 13,000 at 7:30.", "3.14 or 13,000 at 7:30 ."),
        ("well-known (so) ... and -- then", "well - known ( so ) ... and -- then"),
        ("“Élan” d’été 中文 naïve", "“ Élan ” d ’été 中文 naïve"),
        ("e\u0301te\u0301 a_b #1 x2", "e\u0301te\u0301 a_b # 1 x2"),
        ("'quoted' 5. .5 1..2", "' quoted ' 5 . . 5 1 .. 2"),
        ("😀😀 a@b.org", "😀 😀 a @ b . org"),
        ("x", "x"),
        ("..", ".."),
        (" \n", ""),
    ],
)
def test_english_words(text, expected):
    assert strings(WORDS["english"](text)) == expected.split()


@on_every_document
def test_english_words_are_all_characters_but_white_space(name):
    words = WORDS["english"](TEXTS[name])
    assert "".join(strings(words)) == "".join(TEXTS[name].split())


@pytest.mark.slow  # spaCy takes seconds to import
def test_words_of_spacy():
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed: extra `datatrove`")
    tokenizer = spacy.blank("en").tokenizer
    differing = total = 0
    for text in TEXTS.values():
        expected = [token.text for token in tokenizer(text) if not token.is_space]
        assert strings(WORDS["spacy"](text)) == expected
        shared = Counter(expected) & Counter(strings(WORDS["english"](text)))
        total, differing = total + len(expected), differing + len(expected) - shared.total()
    assert differing / total < 0.05


def test_long_texts_are_divided_in_pieces(monkeypatch):
    text = "ein schöner Text, der lang ist; " * 400 + "x" * 3000 + " end"
    whole = WORDS["white_space"](text)
    monkeypatch.setattr(dividing, "_PIECE", 1000)
    pieces = WORDS["white_space"](text[: 32 * 400])
    assert strings(pieces) == text[: 32 * 400].split()
    assert (pieces.hashes == whole.hashes[: len(pieces)]).all()
    assert "".join(strings(WORDS["white_space"](text))) == "".join(text.split())


@pytest.mark.slow
def test_memory_is_some_words_of_a_piece_above_the_words_themselves():
    text = "some words of a text " * 400_000
    tracemalloc.start()
    words = WORDS["english"](text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * (words.hashes.nbytes * 3 + words.bits.nbytes) + (64 << 20)


def made_words(draw):
    """Words that repeat, some of which join alike: "ab c" and "a bc"."""
    pool = ["a", "ab", "abc", "b", "bc", "c", "the", "of"][: draw.randint(2, 8)]
    return draw.choices(pool, k=draw.randint(0, 60))


def greedy(words, n):
    seen, place, characters = set(), 0, 0
    while place < len(words) - n + 1:
        gram = "".join(words[place : place + n])
        characters += len(gram) if gram in seen else 0
        place += n if gram in seen else 1
        seen.add(gram)
    return characters


def overlapping(words, n):
    """Words of grams that occurred before, each once, and a space for each but a gram's first."""
    seen, characters, counted_to = set(), 0, 0
    for place in range(len(words) - n + 1):
        gram = tuple(words[place : place + n])
        if gram in seen:
            new = range(max(place, counted_to), place + n)
            characters += sum(len(words[i]) for i in new) + min(len(new), n - 1)
            counted_to = place + n
        seen.add(gram)
    return characters


def test_grams_are_those_of_loops():
    draw = random.Random(5)
    for _ in range(150):
        made = made_words(draw)
        words = WORDS["white_space"](" ".join(made))
        apart, joined = Grams(words, range(2, 6), True), Grams(words, range(2, 6), False)
        for n in range(2, 6):
            tuples = [tuple(made[i : i + n]) for i in range(len(made) - n + 1)]
            lengths = [sum(map(len, gram)) for gram in tuples]
            counts = Counter(tuples)
            assert apart.number(n) == len(tuples)
            assert apart.repeats(n) == len(tuples) - len(counts)
            assert apart.occurrences(n) == max(counts.values(), default=0)
            assert joined.repeats(n) == len(tuples) - len(set(map("".join, tuples)))
            if not tuples:
                continue
            assert apart.lengths(n).tolist() == lengths
            assert joined.greedy(n) == greedy(made, n)
            assert apart.overlapping(n) == overlapping(made, n)
            several = sum(
                length for gram, length in zip(tuples, lengths, strict=True) if counts[gram] > 1
            )
            assert apart.all_copies(n) == (several, sum(lengths))
            place, occurrences = apart.top(n)
            assert (tuples[place], occurrences) == counts.most_common(1)[0]
            assert place == tuples.index(tuples[place])


def test_hashes_of_what_is_joined_are_those_of_the_strings():
    made = re.findall(r"\S+", TEXTS["accents"])
    words = WORDS["white_space"](TEXTS["accents"])
    for spaces, mark in ((True, " "), (False, "")):
        hashes = words.gram_hashes([3], spaces)[0, :-2]
        expected = [hash_of(mark.join(made[i : i + 3])) for i in range(len(made) - 2)]
        np.testing.assert_array_equal(hashes, np.array(expected, np.uint64))
