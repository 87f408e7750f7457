"""Labelled examples as they are read, and the four forms, against sequences made by hand."""

import json

import numpy as np
import pytest

from gptjax.data.batches.task_inputs import bert_rows, task_rows
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.embedded import ANIMALS, embedded_examples
from gptjax.data.labelled.examples import Example, Fields, load_examples
from gptjax.tokenization import RawBytes, TaskTokenizer, WordPiece
from tests.support.alignment_runs import refusal

START, BETWEEN, END = 256, 257, 258
PAIR = Fields(text="a", text_b="b", labels=("no", "yes"))
CHOICE = Fields(text="goal", choices=("sol1", "sol2"), labels=("0", "1"))


def rows_of(form, *examples, context_length=16, width=1):
    return task_rows(
        Records("here", tuple(examples)),
        TaskTokenizer(RawBytes()),
        form,
        context_length=context_length,
        width=width,
    )


def test_each_form_is_the_figure_of_the_paper():
    pair = Example(("ab", "c"), 1)
    expected = {
        "classification": (Example(("abc",), 0), [[START, *b"abc", END]]),
        "entailment": (pair, [[START, *b"ab", BETWEEN, *b"c", END]]),
        "similarity": (
            pair,
            [[START, *b"ab", BETWEEN, *b"c", END], [START, *b"c", BETWEEN, *b"ab", END]],
        ),
        "choice": (
            Example(("q", "x", "yz"), 1),
            [[START, *b"q", BETWEEN, *b"x", END], [START, *b"q", BETWEEN, *b"yz", END]],
        ),
    }
    for form, (example, sequences) in expected.items():
        batch = rows_of(form, example, width=len(sequences)).batch(np.array([0]))
        for ids, length, real in zip(
            batch["tokens"][0], batch["lengths"][0], sequences, strict=True
        ):
            assert ids[:length].tolist() == real and not ids[length:].any()
        assert batch["targets"].tolist() == [example.target] and batch["weights"].tolist() == [1.0]


def test_parts_are_cut_and_counted_and_what_lies_past_the_last_is_padding():
    long, short = Example(("a" * 9, "b" * 9), 0), Example(("aa", "b"), 1)
    rows = rows_of("entailment", long, short)  # 16 // 2 - 2 = 6 tokens a part
    batch = rows.batch(np.array([1, 0, 2]))
    assert rows.truncated == 2
    assert batch["tokens"].shape == (3, 1, 15)
    assert batch["tokens"][1, 0].tolist() == [START, *b"aaaaaa", BETWEEN, *b"bbbbbb", END]
    assert batch["lengths"].tolist() == [[6], [15], [0]]
    assert batch["weights"].tolist() == [1.0, 1.0, 0.0]
    assert rows_of("classification", Example(("a" * 20,), 0)).length == 16
    numbers = rows_of("similarity", Example(("a", "b"), 3.5), width=2).batch(np.array([0]))
    assert numbers["targets"].dtype == np.float32 and numbers["targets"][0] == 3.5


BERT = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"])


def bert_sequences(form, *texts, context_length=9, width=1):
    examples = Records("here", (Example(texts, 0),))
    rows = bert_rows(examples, BERT, form, context_length=context_length, width=width)
    batch = rows.batch(np.array([0, 1]))
    assert not any(batch[name][1].any() for name in ("tokens", "token_types", "lengths"))
    ids, types = (
        [x[:length].tolist() for x, length in zip(batch[name][0], batch["lengths"][0], strict=True)]
        for name in ("tokens", "token_types")
    )
    return [" ".join(BERT.tokens[i] for i in x) for x in ids], types, rows.truncated


def test_the_forms_of_bert_have_token_types():
    pair = ["[CLS] a b [SEP] c [SEP]"], [[0, 0, 0, 0, 1, 1]], 0
    assert bert_sequences("classification", "a") == (["[CLS] a [SEP]"], [[0, 0, 0]], 0)
    assert bert_sequences("entailment", "a b", "c") == pair
    assert bert_sequences("similarity", "a b", "c") == pair  # in one order
    assert bert_sequences("choice", "a", "b", "c b", width=2) == (
        ["[CLS] a [SEP] b [SEP]", "[CLS] a [SEP] c b [SEP]"],
        [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]],
        0,
    )


@pytest.mark.parametrize(("first", "second"), [(9, 2), (2, 9), (5, 5), (3, 3), (12, 0)])
def test_a_pair_loses_tokens_of_the_longer_text(first, second):
    a, b = ["a"] * first, ["b"] * second
    while len(a) + len(b) > 8 - 3:  # google-research/bert, _truncate_seq_pair
        (a if len(a) > len(b) else b).pop()
    texts = "a " * first, "b " * second
    (found,), _, cut = bert_sequences("entailment", *texts, context_length=8)
    assert found.split() == ["[CLS]", *a, "[SEP]", *b, "[SEP]"]
    assert cut == (len(a) < first) + (len(b) < second)


def test_a_choice_may_have_fewer_candidates():
    rows = rows_of("choice", Example(("q", "x", "y", "z"), 2), Example(("q", "x"), 0), width=3)
    assert rows.batch(np.array([1]))["lengths"].tolist() == [[5, 0, 0]]


def test_columns_are_numbered_or_named_and_labels_may_stand_in_another_file(tmp_path):
    (tmp_path / "plain.tsv").write_text('x\t"Hi" he said\tyes\nx\tBye\tno\n')
    (tmp_path / "named.tsv").write_text("a\tb\tlabel\r\nOne\tTwo\tyes\r\n")
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"goal": "g", "sol1": "a", "sol2": s}) + "\n" for s in "bc")
    )
    (tmp_path / "labels.lst").write_text("1\n0\n")
    (tmp_path / "list.jsonl").write_text('{"q": "g", "of": ["a", "b"], "gold": 1}\n')
    plain = Fields(text="2", label="3", labels=("no", "yes"))
    assert load_examples(f"tsv:{tmp_path}/plain.tsv", plain).items == (
        Example(('"Hi" he said',), 1),
        Example(("Bye",), 0),
    )
    assert load_examples(f"tsv:{tmp_path}/named.tsv", PAIR).items == (Example(("One", "Two"), 1),)
    labelled = f"jsonl:{tmp_path}/rows.jsonl,labels={tmp_path}/labels.lst"
    assert load_examples(labelled, CHOICE).items == (
        Example(("g", "a", "b"), 1),
        Example(("g", "a", "c"), 0),
    )
    listed = Fields(text="q", choices=("of",), label="gold", labels=("0", "1"))
    assert load_examples(f"jsonl:{tmp_path}/list.jsonl", listed).items == (
        Example(("g", "a", "b"), 1),
    )
    number = Fields(text="q", label="gold")
    assert load_examples(f"jsonl:{tmp_path}/list.jsonl", number)[0].target == 1.0


@pytest.mark.parametrize(
    ("content", "fields", "expected"),
    [
        ('{"a": "x", "b": "y", "label": "maybe"}', PAIR, ":1: 'label': got 'maybe', expected one"),
        ('{"a": "x", "label": "yes"}', PAIR, ":1: row: got fields a, label, expected a field 'b'"),
        ('{"a": "x", "b": 3, "label": "yes"}', PAIR, ":1: 'b': got int, expected a string"),
        ('{"text": "x", "label": "high"}', Fields(), ":1: 'label': got 'high', expected a number"),
        (
            '{"q": "x", "of": ["a"], "label": 1}',
            Fields(text="q", choices=("of",), labels=("0", "1")),
            ":1: 'label': got 1, expected one of the 1 candidates",
        ),
        (
            '{"q": "x", "of": ["a", "b", "c"], "label": 1}',
            Fields(text="q", choices=("of",), labels=("0", "1")),
            ":1: 'of': got 3 candidates, expected at most 2, as labels",
        ),
    ],
)
def test_a_bad_row_is_named(content, fields, expected, tmp_path):
    (tmp_path / "rows.jsonl").write_text(content + "\n")
    assert expected in refusal(load_examples, f"jsonl:{tmp_path}/rows.jsonl", fields)


def test_other_bad_files_are_named(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tb\tlabel\nOne\tyes\n")
    (tmp_path / "few.lst").write_text("no\n")
    (tmp_path / "many.lst").write_text("no\nno\nno\n")
    (tmp_path / "two.jsonl").write_text('{"a": "x", "b": "y"}\n' * 2)
    two = f"jsonl:{tmp_path}/two.jsonl,labels={tmp_path}"
    assert "a.tsv:2: row: got 2 columns, expected 3" in refusal(
        load_examples, f"tsv:{tmp_path}/a.tsv", PAIR
    )
    wrong = Fields(text="sentence", labels=("yes", "no"))
    assert "a.tsv:1: got no column 'sentence' in the first line" in refusal(
        load_examples, f"tsv:{tmp_path}/a.tsv", wrong
    )
    assert "two.jsonl:2: label: got the end of" in refusal(load_examples, f"{two}/few.lst", PAIR)
    assert "got 1 more labels than rows" in refusal(load_examples, f"{two}/many.lst", PAIR)
    assert "unknown set of labelled examples" in refusal(load_examples, "csv:x", PAIR)


def test_embedded_texts_have_the_label_of_a_count_and_no_split_has_one_of_the_other():
    splits = [set(embedded_examples(split, 200)) for split in ("train", "held_out")]
    assert not splits[0] & splits[1]
    for text, label in splits[0] | splits[1]:
        animals = [word in ANIMALS for word in text.split()]
        assert label == ("animals" if sum(animals) > len(animals) / 2 else "things")


def test_the_real_files_are_read(shared_data):
    files = {
        "tsv:glue_sst2/dev.tsv": (Fields(text="1", label="2", labels=("0", "1")), 872),
        "tsv:glue_cola/in_domain_dev.tsv": (Fields(text="4", label="2", labels=("0", "1")), 527),
        "tsv:glue_stsb/sts-dev.csv": (Fields(text="6", text_b="7", label="5"), 1500),
        "tsv:glue_snli/test.tsv": (
            Fields(text="premise", text_b="hypothesis", labels=("0", "1", "2")),
            9824,
        ),
        f"jsonl:piqa/valid.jsonl,labels={shared_data}/piqa/valid-labels.lst": (CHOICE, 1838),
        "jsonl:hellaswag_1k/hellaswag_val_1000.jsonl": (
            Fields(text="query", choices=("choices",), label="gold", labels=tuple("0123")),
            1000,
        ),
    }
    for spec, (fields, count) in files.items():
        name, _, location = spec.partition(":")
        assert len(load_examples(f"{name}:{shared_data}/{location}", fields)) == count, spec
