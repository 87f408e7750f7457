"""BERT's answers from passages: the loss against NumPy, the best spans, SQuAD's figures."""

import json
import re

import jax
import numpy as np
import pytest
import scipy.special

from gptjax.data.batches.span_rows import span_rows
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.squad import Question
from gptjax.judging.free_answers import exact_match, f1
from gptjax.models.classifier import SpanReader
from gptjax.tasks.question_answering.answers import answers, write_answers
from gptjax.tasks.question_answering.config import QuestionAnsweringConfig
from gptjax.tasks.question_answering.kind import KIND
from gptjax.tokenization import WordPiece
from gptjax.training.task_losses import mean_loss, span_parts
from tests.support.alignment_runs import make_config, on_mesh, prepared, refusal, rows, run

TOKENIZER = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij"])
QUESTION = Question("q1", "a", "A b, c d  e f g h i j", ("c d",), 5, 8)


def windows():
    questions = Records("here", (QUESTION,))
    return span_rows(questions, TOKENIZER, max_tokens=10, stride=2, max_question_tokens=1)


def test_the_loss_is_the_mean_of_both_ends():
    """Padding is neither a start nor an end, and a row of padding counts nothing."""
    config = make_config(QuestionAnsweringConfig)
    model = SpanReader(config.model)
    params = jax.jit(lambda: KIND.init(config, jax.random.key(0)))()
    params["task_head"] = jax.tree.map(lambda x: 40 * np.asarray(x) + 0.1, params["task_head"])
    tokens = np.array([[2, 5, 3, 7, 8, 3], [2, 5, 3, 9, 3, 0], [0] * 6], np.int32)
    batch = {
        "tokens": tokens,
        "token_types": (tokens > 3).astype(np.int32),
        "lengths": np.array([6, 5, 0], np.int32),
        "starts": np.array([3, 0, 0], np.int32),
        "ends": np.array([4, 0, 0], np.int32),
        "weights": np.array([1, 1, 0], np.float32),
    }

    @jax.jit
    def both(params, batch):
        return mean_loss(span_parts(model))(params, batch, None), span_parts(model)(
            params, batch, None
        )

    (total, weight, _), (scores, _) = jax.device_get(both(params, batch))
    expected = 0.0
    for row, length in ((0, 6), (1, 5)):
        nats = -scipy.special.log_softmax(np.asarray(scores[row, :length], np.float64), axis=0)
        expected += (nats[batch["starts"][row], 0] + nats[batch["ends"][row], 1]) / 2
    assert weight == 2 and float(total) == pytest.approx(expected, rel=1e-5)
    longer = dict(batch, tokens=np.where(tokens == 0, 9, tokens))  # other tokens in the padding
    assert float(both(params, longer)[0][0]) == float(total)


def test_the_best_answers_are_those_of_a_loop_over_all_spans(tmp_path):
    found_rows = windows()
    assert len(found_rows) > 1
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(len(found_rows), found_rows.length, 2)).astype(np.float32)
    texts = {}
    for window, (starts, ends) in zip(
        found_rows.windows, np.moveaxis(scores, 2, 1).astype(float), strict=True
    ):
        for i, (begin, _) in enumerate(window.offsets):
            for j, (_, end) in enumerate(window.offsets[i : i + 3], start=i):
                if window.counts[i]:
                    text = QUESTION.context[begin:end]
                    score = starts[window.first + i] + ends[window.first + j]
                    texts[text] = max(score, texts.get(text, -np.inf))
    found = answers(scores, found_rows, max_answer_tokens=3)
    best = sorted(texts, key=lambda text: -texts[text])[:20]
    assert [answer.text for answer in found[0]] == best
    write_answers(tmp_path, found, found_rows)
    assert json.loads((tmp_path / "predictions.json").read_text()) == {"q1": best[0]}
    several = json.loads((tmp_path / "nbest_predictions.json").read_text())["q1"]
    odds = np.exp([texts[text] for text in best])
    np.testing.assert_allclose([each["probability"] for each in several], odds / odds.sum())


def squad_words(text):
    """SQuAD's normalisation, a character and a word at a time."""
    kept = "".join(c for c in text.lower() if c not in set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"))
    return [word for word in re.split(r"\s+", kept) if word not in ("", "a", "an", "the")]


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("The Denver Broncos!", ("denver broncos", "Broncos")),
        ("Broncos of Denver", ("Denver Broncos", "Broncos")),
        ("to to be", ("be to be",)),
        ("", ("x",)),
        ("theatre an", ("the theatre",)),
        ("1,000 m", ("1000", "1000 metres")),
    ],
)
def test_figures_are_those_of_squad(given, right):
    said, scores = squad_words(given), []
    for each in map(squad_words, right):
        left, shared = list(each), 0
        for word in said:
            if word in left:
                left.remove(word)
                shared += 1
        precision, recall = (shared / len(x) if x else 0 for x in (said, each))
        scores.append(2 * precision * recall / (precision + recall) if shared else 0.0)
    assert f1(given, right) == pytest.approx(max(scores))
    assert exact_match(given, right) == any(said == squad_words(each) for each in right)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"squad__train": None}, "config.squad.train: got none, expected a file of questions in"),
        ({"squad__max_tokens": 49}, "config.squad.max_tokens: got 49, expected at most context_l"),
        ({"squad__max_question_tokens": 45}, "max_question_tokens: got 45, expected less than 45"),
        (
            {"data__tokenizer": "instructions_448", "model__vocab_size": 448},
            "got 'instructions_448' without [MASK] and [CLS]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, expected):
    assert expected in refusal(prepared, make_config(QuestionAnsweringConfig, **changes))


@pytest.mark.slow
def test_a_run_chooses_its_best_checkpoint_and_learns_on_a_mesh(trained, tmp_path):
    workdir = trained("question_answering")
    result, judged = workdir.result(), [row for row in rows(workdir) if "split" in row]
    assert result["chosen"]["f1"] == max(row["f1"] for row in judged)
    said = json.loads((workdir.path / "predictions.json").read_text())
    assert len(said) == result["held_out"] and result["windows"] > result["questions"]
    changes = {"training__batch_size": 8, "checkpoint__init_from": None}
    found, alone = (
        rows(run(tmp_path / name, trained.config("question_answering", **changes, **axes)))
        for name, axes in (("mesh", on_mesh(fsdp=4, data=2)), ("alone", {}))
    )
    for row, expected in zip(found, alone, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.slow
def test_it_starts_from_a_masked_language_model_without_its_pooler(trained, tmp_path):
    source = trained("masked_lm")
    ended = run(
        tmp_path / "run",
        make_config(
            QuestionAnsweringConfig,
            checkpoint__init_from=str(source.path),
            squad__random_start=False,
        ),
    )
    params = ended.restored()
    assert set(params) == set(source.restored()) - {
        "pooler",
        "masked_lm_head",
        "next_sentence_head",
    } | {"task_head"}
