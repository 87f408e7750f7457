"""Questions in SQuAD's format, and the windows that are made of them."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from gptjax.data.batches.span_rows import span_rows
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.squad import Question, load_questions
from gptjax.tokenization import WordPiece
from tests.support.alignment_runs import refusal

LETTERS = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij", "##x"])


def a_file(folder: Path, *questions, context="b a c"):
    path = folder / "questions.json"
    paragraphs = [{"context": context, "qas": [*questions]}]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return str(path)


def asked(name="1", text="a", start=2, **more):
    return {"id": name, "question": "Q", "answers": [{"text": text, "answer_start": start}], **more}


def test_an_answer_is_taken_where_it_stands(tmp_path):
    several = asked("2") | {
        "answers": [{"text": "c", "answer_start": 0}, {"text": "c", "answer_start": 4}]
    }
    found = load_questions(a_file(tmp_path, asked(), several, asked("3", "c", 0)))
    assert found.items == (
        Question("1", "Q", "b a c", ("a",), 2, 3),
        Question("2", "Q", "b a c", ("c", "c"), 4, 5),
    )
    assert list(found.dropped.values()) == [1]


@pytest.mark.parametrize(
    ("questions", "expected"),
    [
        ([asked(is_impossible=True)], "qas[0]: 'is_impossible': got true, expected SQuAD v1.1"),
        ([asked(), asked()], "qas[1]: 'id': got '1', expected one that no other question has"),
        ([{"id": "1", "answers": []}], "'answers': got an empty list, expected a list"),
        ([asked(start="2")], "answers[0]: 'answer_start': got '2', expected a number"),
        ([asked(start=-1)], "got none of 1 (1 no answer stands where the file says) rows"),
        ([7], "data[0].paragraphs[0].qas[0]: value: got int, expected an object"),
    ],
)
def test_what_is_not_in_the_format_is_named(questions, expected, tmp_path):
    assert expected in refusal(load_questions, a_file(tmp_path, *questions))


def test_windows_are_those_of_a_loop():
    """google-research/bert, run_squad.py: spans of the passage, and `_check_is_max_context`."""
    context = " ".join("abcdefghij")
    question = Question("1", "a b", context, ("e f",), 8, 11)
    rows = span_rows(
        Records("here", (question,)), LETTERS, max_tokens=10, stride=2, max_question_tokens=1
    )
    spans, begin = [], 0  # the question is cut to one token, which leaves six
    while True:
        spans.append((begin, min(6, 10 - begin)))
        if begin + spans[-1][1] == 10:
            break
        begin += 2
    assert [len(window.offsets) for window in rows.windows] == [length for _, length in spans]
    batch = rows.batch(np.arange(len(spans) + 1))
    for number, (begin, length) in enumerate(spans):
        window, letters = rows.windows[number], "abcdefghij"[begin : begin + length]
        said = [LETTERS.tokens[i] for i in batch["tokens"][number][: batch["lengths"][number]]]
        assert said == ["[CLS]", "a", "[SEP]", *letters, "[SEP]"]
        assert batch["token_types"][number].tolist() == [0] * 3 + [1] * (length + 1)
        whole = "e" in letters and "f" in letters
        place = (3 + letters.index("e"), 3 + letters.index("f")) if whole else (0, 0)
        assert (batch["starts"][number], batch["ends"][number]) == place
        for at in range(begin, begin + length):
            context_of = [
                min(at - b, b + n - 1 - at) + 0.01 * n if b <= at < b + n else -1 for b, n in spans
            ]
            assert window.counts[at - begin] == (number == int(np.argmax(context_of)))
    assert batch["weights"].tolist() == [1.0] * len(spans) + [0.0]
    assert sum(window.counts.sum() for window in rows.windows) == 10


def test_the_characters_of_a_token_are_those_it_is_made_of(shared_data):
    """Of each token of real passages, with accents, signs and scripts of all kinds."""
    tokenizer = WordPiece.load(shared_data / "bert_vocab")
    questions = load_questions(str(shared_data / "xquad_en" / "xquad.en.json"))
    texts = list(dict.fromkeys(question.context for question in questions))
    texts.append("Ünïcode  Straße\u00a0— 日本語 e\u0301t\u0301 ﬁn 😀 İstanbul\u200bx")
    for text, (ids, offsets) in zip(texts, tokenizer.encode_with_offsets(texts), strict=True):
        np.testing.assert_array_equal(ids, tokenizer.encode(text))
        for token, (begin, end) in zip(ids, offsets, strict=True):
            name = tokenizer.tokens[token].removeprefix("##")
            plain = unicodedata.normalize("NFD", text[begin:end].lower())
            plain = "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Cf"))
            assert name in ("[UNK]", plain), (text[begin:end], name)
    assert len(questions) == 1190 and not questions.dropped


def test_the_tokens_of_an_answer_are_its_text(shared_data):
    """Of all real questions; a token may hold more than the answer, which begins or ends in it."""
    tokenizer = WordPiece.load(shared_data / "bert_vocab")
    questions = load_questions(str(shared_data / "xquad_en" / "xquad.en.json"))
    rows = span_rows(questions, tokenizer, max_tokens=384, stride=128, max_question_tokens=64)
    same = 0
    for window in rows.windows:
        if window.start:
            question = questions[window.question]
            begin, end = (place - window.first for place in (window.start, window.end))
            cut = question.context[window.offsets[begin, 0] : window.offsets[end, 1]]
            assert question.answers[0] in cut
            same += cut == question.answers[0]
    assert same > 0.99 * len(questions)
