"""Removal against the paper's rules, written with strings and loops."""

import collections
import dataclasses
import random
import re

import pytest

from gptjax.curation import batches as batching
from gptjax.curation.decontamination.config import RemovalConfig
from gptjax.curation.decontamination.evaluation_sets import EvaluationItem, EvaluationSet
from gptjax.curation.decontamination.removal import prepare_removal
from gptjax.curation.document import Document, Dropped
from gptjax.curation.text_hashes import word_spans
from tests.support.runs_of_words import ngrams, words_of

ITEM = " ".join(f"word{i}" for i in range(20))


def by_the_rules(document, removed_runs, config):
    """What stays of a document: texts with the characters they begin with, or a reason."""
    tokens = [m for m in re.finditer(r"\S+", document.text) if words_of(m[0])]
    removed = [False] * len(document.text)
    collided = False
    for i, run in enumerate(ngrams(document.text, config.words)):
        if run in removed_runs:
            first, last = tokens[i], tokens[i + config.words - 1]
            begin = next(k for k in range(*first.span()) if document.text[k].isalnum())
            end = max(k for k in range(*last.span()) if document.text[k].isalnum()) + 1
            collided = True
            for k in range(max(begin - config.window, 0), end + config.window):
                if k < len(removed):
                    removed[k] = True
    if not collided:
        return [(None, document.text)]
    marks = "".join("x" if r else "." for r in removed)
    pieces = [(m.start(), document.text[m.start() : m.end()]) for m in re.finditer(r"\.+", marks)]
    if len(pieces) > config.most_pieces:
        return "decontamination.split"
    kept = [(start, text) for start, text in pieces if len(text) >= config.shortest]
    return kept or "decontamination.short_pieces"


@pytest.mark.parametrize(
    "config",
    [
        RemovalConfig(),
        RemovalConfig(words=8, window=40, shortest=60, most_pieces=4, most_documents=3),
        RemovalConfig(words=8, window=0, shortest=1, most_pieces=20),
    ],
)
def test_the_paper_s_rules(sets, documents, config):
    sets = sets[1:] if config.words == 13 else sets
    removal = prepare_removal(lambda: documents, sets, config)
    wanted = {run for each in sets for i in each.items for run in ngrams(i.text, config.words)}
    counts = collections.Counter(
        run for other in documents for run in set(ngrams(other.text, config.words))
    )
    removed_runs = {run for run in wanted if counts[run] <= config.most_documents}
    outcomes = collections.Counter()
    for document, found in zip(documents, removal.cut_all(documents), strict=True):
        expected = by_the_rules(document, removed_runs, config)
        if isinstance(found, Dropped):
            assert found.reason == expected
            outcomes[expected] += 1
        elif expected[0][0] is None:
            assert found == [document] and found[0] is document
            outcomes["left"] += 1
        else:
            named = [(f"{document.id}@{start}", text) for start, text in expected]
            assert [(piece.id, piece.text) for piece in found] == named
            assert {piece.source for piece in found} == {"web"}
            outcomes["cut"] += 1
    assert outcomes["left"] > 3 and outcomes["cut"] > 3 and outcomes.total() == 65
    if config.most_pieces == 4:
        assert outcomes["decontamination.split"] and outcomes["decontamination.short_pieces"]


def test_a_run_in_more_than_ten_documents_is_ignored():
    sets = [EvaluationSet("a", (EvaluationItem("1", ITEM),))]
    documents = [Document(str(i), f"{'x ' * 300}{ITEM}", "web") for i in range(11)]
    ten, eleven = (
        prepare_removal(lambda n=n: documents[:n], sets, RemovalConfig()) for n in (10, 11)
    )
    assert ten.counts.tolist() == [10] * 8
    assert eleven.cut(documents[0]) == [documents[0]]
    (piece,) = ten.cut(documents[0])
    assert piece.text == documents[0].text[: 600 - 200]
    # Twice in one document is once.
    twice = prepare_removal(lambda: [Document("a", f"{ITEM} {ITEM}", "web")], sets, RemovalConfig())
    assert twice.counts.max() == 1


@pytest.mark.parametrize("characters", [1, 1000, 1 << 20])
def test_neither_order_nor_division_matters(monkeypatch, sets, documents, characters):
    config = RemovalConfig(words=8)
    expected = prepare_removal(lambda: documents, sets, config)
    monkeypatch.setattr(batching, "_CHARACTERS", characters)
    shuffled = list(documents)
    random.Random(characters).shuffle(shuffled)
    found = prepare_removal(lambda: iter(shuffled), sets, config)
    assert found.counts.tobytes() == expected.counts.tobytes()
    assert [found.cut(document) for document in documents] == [
        expected.cut(document) for document in documents
    ]


def test_words_stand_where_their_letters_are():
    text = "(Ab) -- c, d'é!\n\u20037"
    assert [text[a:b] for a, b in word_spans(text)] == ["Ab", "c", "d'é", "7"]
    assert word_spans("--").tolist() == []


def test_what_is_wrong_is_said(sets, documents):
    with pytest.raises(ValueError, match="got no evaluation sets"):
        prepare_removal(lambda: documents, [], RemovalConfig())
    too_short = "'short': none of its 30 items has 13 words, so that nothing of it would be looked"
    with pytest.raises(ValueError, match=too_short):
        prepare_removal(lambda: documents, sets, RemovalConfig())
    tiny = [dataclasses.replace(documents[0], text="too short")]
    with pytest.raises(ValueError, match="no training document of 8 words"):
        prepare_removal(lambda: tiny, sets, RemovalConfig(words=8))
