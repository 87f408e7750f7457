"""Texts with several labels: unknown ones, parts of a set, and rows that are refused."""

import gzip
import json

import pytest

from gptjax.data.labelled.multilabel import LabelledText, load_multilabel

ROWS = [
    {"prompt": "one", "S": 1, "V": 0},
    {"prompt": "two", "V": 1},
    {"prompt": "three", "S": None, "V": 0},
    {"prompt": " ", "S": 0, "V": 0},
    {"prompt": "four", "other": 1},
]


@pytest.fixture
def load(tmp_path):
    """Writes rows as the published set has them, and loads them."""

    def loaded(rows=ROWS, options="", name="samples.jsonl.gz"):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name).write_bytes(gzip.compress(lines.encode()))
        return load_multilabel(f"jsonl:{tmp_path}/{name}{options}", "prompt", ("S", "V"))

    return loaded


def test_what_a_row_does_not_have_is_unknown(load):
    records = load()
    assert records.items == (
        LabelledText("one", (1, 0)),
        LabelledText("two", (None, 1)),
        LabelledText("three", (None, 0)),
    )
    assert records.dropped == {"empty text": 1, "no label": 1}


def test_folds_divide_a_set_by_texts(load):
    rows = [{"prompt": f"text {i}", "S": i % 2} for i in range(60)]
    whole = load(rows)
    parts = [load(rows, f",folds=3,of={fold}").items for fold in range(3)]
    assert all(parts) and len(whole) == sum(map(len, parts))
    assert {x for part in parts for x in part} == set(whole.items)
    assert set(load(rows, ",folds=3,of=0+2")) == {*parts[0], *parts[2]}
    assert load(rows, ",limit=7").items == whole.items[:7]
    limited = load(rows, ",limit=20,folds=3,of=1").items
    assert limited == tuple(x for x in whole.items[:20] if x in parts[1])
    assert {LabelledText(t, ()).fold(997) for t in ("A  b", "a B\n", " a b")} == {
        LabelledText("a b", ()).fold(997)
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"S": 1}, r"samples.jsonl.gz:1: row: got fields S, expected a field 'prompt'"),
        ({"prompt": 3, "S": 1}, r":1: 'prompt': got int, expected a string"),
        ({"prompt": "a b", "S": 2}, r":1: 'S': got 2, expected 0, 1, or no such field"),
        ({"prompt": "a b", "S": "1"}, r":1: 'S': got '1', expected 0, 1"),
        ({"prompt": "a b"}, r"got none of 1 \(1 no label\) rows"),
    ],
)
def test_a_wrong_row_is_named_and_its_text_is_not_said(load, row, message):
    with pytest.raises(ValueError, match=message) as error:
        load([row])
    assert "a b" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",folds=5", "got folds alone, expected both, such as folds=5,of=0"),
        (",of=1", "got of alone"),
        (",folds=0,of=0", "folds: got '0', expected a number from 1"),
        (",folds=3,of=0+3", r"of: got '0\+3', expected folds from 0 to 2"),
        (",limit=x", "limit: got 'x', expected a number from 1"),
    ],
)
def test_a_wrong_part_is_refused(load, options, message):
    with pytest.raises(ValueError, match=message):
        load(options=options)


def test_the_embedded_set_is_divided_and_its_labels_are_its_words():
    train, held = (
        load_multilabel(f"embedded:split={split},count=80", "prompt", ("A", "B"))
        for split in ("train", "held_out")
    )
    assert not {x.text for x in train} & {x.text for x in held}
    of = [(x.text.split(), x.labels) for x in train]
    for index in (0, 1):
        words = [set(text) for text, labels in of if labels[index] == 1]
        without = [text for text, labels in of if labels[index] == 0]
        (word,) = set.intersection(*words)
        assert without and not any(word in text for text in without)
        assert any(labels[index] is None for _, labels in of)


def test_the_published_set_is_read(shared_data):
    """Its counts are those of its rows; nothing of it is shown."""
    path = shared_data / "moderation" / "samples-1680.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    names = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")
    records = load_multilabel(f"jsonl:{path}", "prompt", names)
    known = [sum(x.labels[i] is not None for x in records) for i in range(8)]
    positive = [sum(x.labels[i] == 1 for x in records) for i in range(8)]
    assert len(records) == 1680 and known[:2] == [984, 771] and known[7] == 1447
    assert positive == [237, 162, 94, 76, 51, 85, 41, 24]
