"""The corpus of sums against what its text says."""

import re

import pytest

from gptjax.data import load_corpus
from gptjax.data.corpora.sums import SETS, is_held_out

WORDS = {"plus": "+", "minus": "-", "times": "*"}


def test_every_sum_is_right_and_none_is_held_out():
    documents = list(load_corpus("sums:documents=300"))
    kinds, questions = set(), []
    for document in documents:
        found = re.findall(r"(Q: What is (.+)\?\n\nA:) (-?\d+)\n\n", document.text)
        assert len(found) == 8 and document.text.count("Q:") == 8
        kinds.add(tuple(sorted({re.sub(r"[\d(]+|[+*-] |\)", "", asked) for _, asked, _ in found})))
        for whole, asked, answer in found:
            for word, sign in WORDS.items():
                asked = asked.replace(word, sign)
            assert eval(asked) == int(answer)
            questions.append(whole)
    assert len(documents) == 300 and not any(map(is_held_out, questions))
    sizes = [len(re.findall(r"\d+", question)[0]) for question in questions]
    assert {1, 2, 3, 4, 5} == set(sizes) and len(SETS) == 10
    again = list(load_corpus("sums:documents=10"))
    assert [a.text for a in again] == [a.text for a in documents[:10]]


def test_a_tenth_of_questions_is_held_out():
    asked = [f"Q: What is {a} plus {b}?\n\nA:" for a in range(100) for b in range(100)]
    assert sum(map(is_held_out, asked)) == pytest.approx(1000, rel=0.1)
