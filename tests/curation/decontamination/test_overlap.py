"""Overlaps against sets of tuples, readers of evaluation sets against files made by hand."""

import json
import random

import numpy as np
import pytest

from gptjax.curation import batches as batching
from gptjax.curation.decontamination.evaluation_sets import (
    EvaluationItem,
    EvaluationSet,
    load_evaluation_sets,
)
from gptjax.curation.decontamination.overlap import (
    measure_overlap,
    words_of_a_run,
    write_overlaps,
)
from gptjax.curation.document import Document
from tests.support.runs_of_words import ngrams, words_of


def test_dirty_items_have_a_run_in_common_with_a_document(sets, documents):
    for each, overlap in zip(sets, measure_overlap(lambda: documents, sets), strict=True):
        lengths = sorted(len(words_of(item.text)) for item in each.items)
        place = 0.05 * (len(lengths) - 1)
        low = int(place)
        fifth = lengths[low] + (place - low) * (lengths[low + 1] - lengths[low])
        words = min(max(int(fifth), 8), 13)
        trained = {run for document in documents for run in ngrams(document.text, words)}
        runs = {item.id: set(ngrams(item.text, words)) for item in each.items}
        dirty = tuple(id for id, of_item in runs.items() if of_item & trained)
        everything = set.union(*runs.values())
        assert overlap.words == words == {"short": 8, "long": 13}[each.name]
        assert overlap.dirty == dirty and 2 < len(dirty) < 30
        assert overlap.looked_up == sum(map(bool, runs.values()))
        assert (overlap.ngrams, overlap.ngrams_found) == (
            len(everything),
            len(everything & trained),
        )


@pytest.mark.parametrize("characters", [1, 1000])
def test_neither_order_nor_division_matters(monkeypatch, sets, documents, characters):
    expected = measure_overlap(lambda: documents, sets)
    monkeypatch.setattr(batching, "_CHARACTERS", characters)
    random.Random(characters).shuffle(documents)
    assert measure_overlap(lambda: documents, sets) == expected


def test_the_length_of_a_run_is_the_fifth_percentile_within_bounds():
    assert words_of_a_run(np.array([3] * 100)) == 8
    assert words_of_a_run(np.array([40] * 100)) == 13
    assert words_of_a_run(np.arange(9, 110)) == 13
    assert words_of_a_run(np.array([2, *[10] * 50])) == 10


def test_tables_and_dirty_items_are_written(tmp_path, sets, documents):
    overlaps = measure_overlap(lambda: documents, sets)
    write_overlaps(tmp_path / "new", overlaps)
    table = json.loads((tmp_path / "new/overlap.json").read_text())
    assert [row["name"] for row in table] == ["short", "long"]
    assert table[1]["clean_share"] == 1 - len(overlaps[1].dirty) / 30
    lines = (tmp_path / "new/dirty_items.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == [{"set": each.name, "id": id} for each in overlaps for id in each.dirty]


def test_a_set_of_which_nothing_is_looked_up_is_an_error(sets, documents):
    tiny = EvaluationSet("tiny", (EvaluationItem("1", "only three words"),))
    with pytest.raises(ValueError, match="'tiny': none of its 1 items has 8 words"):
        measure_overlap(lambda: documents, [*sets, tiny])
    short = [Document("a", "one two three four five six seven eight nine", "web")]
    with pytest.raises(ValueError, match="'long': got no training document of 13 words"):
        measure_overlap(lambda: short, sets)


ROWS = {
    "lambada": ({"text": "A whole text."}, "A whole text."),
    "arc": ({"query": "Question: Why?", "choices": ["So.", "Not."], "gold": 0}, "Why?\nSo.\nNot."),
    "piqa": ({"goal": "Do it.", "sol1": "Thus.", "sol2": "So."}, "Do it.\nThus.\nSo."),
    "gsm8k": (
        {"question": "1 and 1?", "answer": "It is <<1+1=2>>2.\n#### 2"},
        "1 and 1?\nIt is 2.\n#### 2",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_named_sets(tmp_path, name):
    row, text = ROWS[name]
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n\n" + json.dumps(row) + "\n")
    (found,) = load_evaluation_sets([f"{name}:{tmp_path}"])
    assert found == EvaluationSet(
        name, (EvaluationItem("test.jsonl:1", text), EvaluationItem("test.jsonl:3", text))
    )


def test_sets_of_fields_and_of_text(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"a": {"b": "One"}, "c": ["two", "three"]}\n{"a": {"b": null}, "c": ["x"]}\n')
    (tmp_path / "prose.txt").write_text("Prose.")
    own, prose = load_evaluation_sets([f"own=jsonl:{path}#a.b,c", f"text:{tmp_path}"])
    assert own == EvaluationSet("own", (EvaluationItem("own.jsonl:1", "One\ntwo\nthree"),))
    assert prose == EvaluationSet(f"text:{tmp_path}", (EvaluationItem("prose.txt@0", "Prose."),))


def test_what_is_wrong_with_a_set_is_said(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"text": "One", "number": 3}\n')
    for spec, said in {
        f"jsonl:{path}": "got no path or no field",
        f"jsonl:{path}#txet": r"own.jsonl:1: no field 'txet', got fields text, number",
        f"jsonl:{path}#number": "own.jsonl:1: 'number': got int, expected a string",
        f"lambda:{path}": r"unknown evaluation set 'lambda' \(did you mean 'lambada'\?\)",
        str(path): f"did you mean 'jsonl:{path}#FIELD'",
        f"lambada:{tmp_path}/none": "no files at",
    }.items():
        with pytest.raises(ValueError, match=said):
            load_evaluation_sets([spec])
    with pytest.raises(ValueError, match="got 2 of the name 'lambada', expected one"):
        load_evaluation_sets([f"lambada:{path}", f"lambada:{path}"])
    path.write_text('{"text": " "}\n')
    with pytest.raises(ValueError, match="got 1 items without text"):
        load_evaluation_sets([f"lambada:{path}"])
    path.write_text('{"text": "x"}\n')
    (tmp_path / "below").mkdir()
    (tmp_path / "below/own.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(ValueError, match=r"got 2 items of the id 'own.jsonl:1'"):
        load_evaluation_sets([f"lambada:{tmp_path}"])
