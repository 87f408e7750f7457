"""Documents told by their letter: what a batch holds can be read off its tokens."""

import string

import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.data.batches.ledger import document_names, passages
from gptjax.data.batches.loader import step_windows, train_batches
from gptjax.data.corpora.text import load_corpus

LETTERS = string.ascii_letters[:30]
TEXTS = [letter * (1 + 7 * i % 23) for i, letter in enumerate(LETTERS)]


@pytest.mark.parametrize("length", [1, 5, 16])
@pytest.mark.parametrize("skipped", [(), ((3, 9), (40, 44))])
def test_passages_are_what_the_batches_hold(make_split, length, skipped):
    split, schedule = make_split(TEXTS), BatchSchedule(6, length, 3, 12 * length)
    batches = train_batches(split, schedule, seed=4, skipped=skipped)
    for step, batch in zip(range(8), batches, strict=False):
        rows = range(schedule.batch_size_at(step))
        windows = step_windows(split, schedule, 4, step, rows, skipped)
        told = passages(split, windows, length)
        for row, tokens in enumerate(batch["tokens"]):
            here = [passage for passage in told if passage.row == row]
            text = ""
            for passage in here:
                document = "." + TEXTS[passage.document]
                if passage.document == len(TEXTS) - 1:
                    document += "."  # the end-of-text that ends the stream
                assert passage.tokens > 0
                text += document[passage.first : passage.first + passage.tokens]
            assert text == "".join("." if token == 256 else chr(token) for token in tokens)
        assert {passage.row for passage in told} == set(range(len(batch["tokens"])))


def test_names_are_those_of_the_training_documents_in_order(text_folder):
    corpus = load_corpus(f"text:{text_folder}", invalid_utf8="error")
    is_held_out = corpus.held_out(0.3)
    training = [document.name for document in corpus if not is_held_out(document)]
    assert 10 < len(training) < 38
    wanted = [2, 0, len(training) - 1]
    assert document_names(corpus, 0.3, wanted) == {i: training[i] for i in wanted}
    assert document_names(corpus, 0.3, []) == {}
