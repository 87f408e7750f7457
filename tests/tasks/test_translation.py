"""Runs of translation: what is refused, averaged, translated and scored."""

import functools
import sys
import types

import jax
import numpy as np
import pytest

from gptjax.judging import bleu
from gptjax.tasks.configs.translation import TranslationConfig
from tests.support.alignment_runs import make_config, on_mesh, prepared, refusal, rows, run
from tests.support.binaries import call

config_with = functools.partial(make_config, TranslationConfig)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"translation__pairs": None}, "config.translation.pairs: got none, expected files:"),
        ({"translation__average": 3}, "config.translation.average: got 3, expected at most 2"),
        ({"model__attention": "block_causal(block=4)"}, "no token of a target sees a later one"),
        ({"model__encoder_attention": "dense,dense"}, "encoder_attention: got dense,dense, expec"),
        ({"model__cross_attention": "heads(dense,dense,dense)"}, "of at most 2 heads"),
        ({"training__loss_chunk": 8}, "config.training.loss_chunk: got 8, expected none"),
        ({"parallelism__strategy": "mesh", "parallelism__sequence": 2}, "1 for translation"),
    ],
)
def test_what_cannot_be_had_is_one_line(changes, line):
    assert line in refusal(prepared, config_with(**changes))


def test_the_last_checkpoints_are_averaged(trained):
    workdir = trained("translation")
    each = [workdir.restored(step, average=1) for step in (4, 8)]
    mean = jax.tree.map(lambda a, b: (np.asarray(a) + np.asarray(b)) / 2, *each)
    jax.tree.map(np.testing.assert_array_equal, workdir.restored(8, average=2), mean)
    line = refusal(lambda: workdir.restored(8, average=3))
    assert f"got 2 checkpoints up to step 8 in {workdir.path}, expected the 3" in line


def test_figures_by_word_and_by_piece(trained):
    *_, row = (row for row in rows(trained("translation")) if "split" in row)
    assert row["perplexity"] == pytest.approx(np.exp(row["nats"]))
    assert row["perplexity_per_word"] > row["perplexity"] and row["loss"] != row["nats"]
    result = trained("translation").result()
    assert 0 < result["padding"] < 1 and result["lengths"] == [8]
    assert result["past_context"] == {"train": 0, "validation": 0}


def test_lines_become_lines(trained, tmp_path):
    workdir = trained("translation").path
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("fox jar\n\nsun\n")
    ended = call("translate", f"--workdir={workdir}", stdin=source.read_text())
    assert (ended.code, ended.errors, ended.output.count("\n")) == (0, "", 3)
    assert ended.output.splitlines()[1] == ""
    ended = call("translate", f"--workdir={workdir}", f"--input={source}", f"--output={target}")
    assert (
        ended.code == 0
        and target.read_text()
        == call("translate", f"--workdir={workdir}", stdin="fox jar\n\nsun").output
    )
    ended = call("translate", f"--workdir={workdir}", stdin="sun\n" + "fox " * 40)
    assert ended.errors.startswith("error: sentence 2: got 41 tokens, end-of-text included, exp")
    assert ended.code == 2


def test_another_model_does_not_translate(trained):
    line = call("translate", f"--workdir={trained('pretrain').path}").refusal
    assert "which holds a language model, expected a run of a translation model" in line
    line = call("sample", f"--workdir={trained('translation').path}", "--prompt=fox").refusal
    assert "which holds a translation model, expected a run of a language model" in line


def test_held_out_pairs_are_scored(trained, monkeypatch):
    """By a stand-in for sacrebleu; the extra is named where it is not installed."""
    flags = f"--workdir={trained('translation').path}", "--pairs=held_out", "--show=1"
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    assert "pip install 'gptjax[translation]'" in call("translate", *flags).refusal
    given = {}

    class Metric:
        def __init__(self, **options):
            given.update(options)

        def corpus_score(self, found, references):
            given.update(found=found, references=references)
            return types.SimpleNamespace(score=12.5)

        def get_signature(self):
            return "nrefs:1"

    stand_in = types.SimpleNamespace(BLEU=Metric, CHRF=Metric)
    monkeypatch.setattr(bleu, "check_available", lambda: stand_in)
    ended = call("translate", *flags)
    assert ended.code == 0 and '"bleu": 12.5, "bleu_signature": "nrefs:1"' in ended.output
    assert given["tokenize"] == "13a"  # as the run says
    (references,) = given["references"]
    assert len(given["found"]) == len(references) and ended.output.startswith("source       ")


def test_scores_are_sacrebleus():
    pytest.importorskip("sacrebleu")
    found = bleu.scores(["the cat is on the mat ."], ["the cat sat on the mat ."])
    expected = 100 * (6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25  # by hand: matches of 1 to 4 words
    assert found["bleu"] == pytest.approx(expected)
    assert "tok:13a" in found["bleu_signature"]
    found = bleu.scores(["彼は泳ぐ"], ["彼は走る"], "char")
    assert 0 < found["bleu"] < 100 and "tok:char" in found["bleu_signature"]


@pytest.mark.slow
def test_batches_have_the_lengths_of_their_buckets(tmp_path):
    result = run(tmp_path / "run", config_with(translation__buckets=2)).result()
    assert 0 < result["padding"] < 1 and result["lengths"] == [5, 8]


@pytest.mark.slow
def test_it_is_divided_over_a_mesh(tmp_path, trained):
    divided = trained.config("translation", **on_mesh(fsdp=2, tensor=2))
    found, alone = rows(run(tmp_path / "run", divided)), rows(trained("translation"))
    for row, expected in zip(found, alone, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
