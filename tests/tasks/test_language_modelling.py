"""Runs of pretraining from their start to their result, and what such a run may not do."""

import re
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from gptjax.config import ExperimentConfig
from gptjax.runs import inputs, supervised
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import fields
from gptjax.tasks.language_modelling import LanguageModelling
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.evaluation import language_model_evaluator
from tests.support.alignment_runs import (
    assert_same_params,
    make_config,
    on_mesh,
    params_at_start,
    refusal,
    rows,
    run,
    stopping,
)
from tests.support.binaries import call


@pytest.fixture(scope="module")
def whole(trained):
    """A run that nobody interrupts; it is not to be changed."""
    return trained("pretrain")


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole.path, tmp_path / "copy"))


def pretraining(**changes):
    return make_config(ExperimentConfig, **changes)


def steps(path):
    return Checkpoints(path / "checkpoints").steps()


def assert_same_end(path, other):
    workdir = WorkDirectory(str(path))
    assert rows(workdir) == rows(other)
    assert_same_params(workdir, other)


def test_a_run_leaves_all_that_later_binaries_need(whole):
    assert {path.name for path in whole.path.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "result.json",
        "checkpoints",
        "tokenizer",
        "tensorboard",
        "loss.png",
    }
    found = rows(whole)
    assert [(row["step"], row.get("split")) for row in found] == [
        *((step, None) for step in (1, 2, 3, 4)),
        (4, "validation"),
        *((step, None) for step in (5, 6, 7, 8)),
        (8, "validation"),
    ]
    judged = [row["loss"] for row in found if "split" in row]
    assert judged[1] < judged[0] < found[0]["loss"] < 1.02 * np.log(448)
    assert steps(whole.path) == [4, 8]
    assert whole.config() == pretraining()
    assert whole.tokenizer().vocab_size == 448
    logits = jax.eval_shape(
        whole.model().apply, {"params": whole.params()}, np.zeros((1, 3), np.int32)
    )
    assert logits.shape == (1, 3, 448)
    assert (whole.path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((whole.path / "tensorboard").glob("events.*"))


def test_the_result_is_that_of_the_last_evaluation(whole):
    result = whole.result()
    for name, value in rows(whole)[-1].items():
        assert result[name] == value
    # 448 and 48 rows of 16; a layer of 12 16^2 weights and 13 x 16 biases and gains; a last norm.
    assert result["parameters"] == 496 * 16 + 12 * 256 + 13 * 16 + 2 * 16
    assert result["seconds"] > 0 and 0 <= result["data_wait_fraction"] < 1
    assert result["versions"]["jax"] == jax.__version__


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """The same run, with an average of its parameters and statistics of its layers besides."""
    config = pretraining(optimizer__ema_decay=0.5, training__statistics_every=3)
    return run(tmp_path_factory.mktemp("runs") / "averaged", config)


def test_statistics_of_layers_are_rows_of_their_own_and_change_nothing(averaged, whole):
    found = rows(averaged)
    sizes = {row["step"]: row for row in found if row.get("split") == "layers"}
    assert list(sizes) == [3, 6]
    training = [row for row in found if "split" not in row]
    assert training == [row for row in rows(whole) if "split" not in row]
    (of_whole,) = (row["grad_norm"] for row in training if row["step"] == 6)
    (of_layer,) = sizes[6]["gradient_norm"]
    assert 0 < of_layer < of_whole  # the embeddings have the rest
    assert sizes[3]["activation_max"] > sizes[3]["activation_rms"]


def test_an_average_of_the_parameters_is_judged_and_kept(averaged):
    config, average = averaged.config(), averaged.params()
    with Checkpoints(averaged.path / "checkpoints") as checkpoints:
        params = checkpoints.restore_params()  # they load alone
        kept = checkpoints.restore_params(item="ema")
    jax.tree.map(np.testing.assert_array_equal, average, kept)
    assert not np.array_equal(average["token_embedding"], params["token_embedding"])

    prepared = inputs.prepare_corpus(config, inputs.load_model_tokenizer(config))
    program = supervised.Program(config)
    evaluate = language_model_evaluator(
        program.loss,
        inputs.validation_batches(config, prepared.validation),
        prepared.validation.bytes_per_target,
        program.mesh,
    )
    assert evaluate(average)["loss"] == rows(averaged)[-1]["loss"] != evaluate(params)["loss"]


def test_starting_a_finished_run_again_changes_nothing(copy, whole):
    """Not even with other settings, of those that are free to change."""
    before = {name: (copy / name).read_bytes() for name in ("metrics.jsonl", "result.json")}
    mesh = on_mesh(sequence=2, fsdp=4)
    run(copy, pretraining(training__log_every=2, checkpoint__keep=5, **mesh))
    assert {name: (copy / name).read_bytes() for name in before} == before
    assert_same_end(copy, whole)


def test_a_run_killed_before_its_result_was_written_still_gets_one(copy, whole):
    (copy / "result.json").unlink()
    result = run(copy, pretraining()).result()
    assert result["bits_per_byte"] == whole.result()["bits_per_byte"]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_leads_to_the_same_end(copy, whole):
    damaged = next(filter(Path.is_file, (copy / "checkpoints/8/params").rglob("*")))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    said = refusal(run, copy, pretraining())
    assert "checkpoint 8 " in said and "corrupt" in said and "--restore_step=4" in said
    assert steps(copy) == [4, 8]
    said = refusal(run, copy.parent / "new", pretraining(), 4)
    assert "--restore_step: got 4, but " in said and "new/checkpoints has no checkpoint" in said
    run(copy, pretraining(), restore_step=4)
    assert steps(copy) == [4, 8]
    assert_same_end(copy, whole)


@pytest.mark.slow
def test_a_run_resumes_on_a_mesh_to_the_same_figures(copy, whole):
    """Dropout too: its bits do not depend on where a row or a position lives."""
    shutil.rmtree(copy / "checkpoints/8")
    mesh = on_mesh(data=2, fsdp=2, sequence=2, sequence_attention="ring")
    for row, expected in zip(rows(run(copy, pretraining(**mesh))), rows(whole), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_another_run_is_refused_and_nothing_is_lost(copy):
    before = (copy / "config.json").read_bytes()
    for path, value in (
        ("data__validation_fraction", 0.3),
        ("optimizer__learning_rate", 0.03),
        ("training__batch_size", 8),
        ("training__num_steps", 9),
    ):
        said = refusal(run, copy, pretraining(**{path: value}))
        assert "another run" in said and f"{path.replace('__', '.')}: {value}, not " in said
    assert (copy / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        (
            "prefix(length=49)",
            "expected attention that hides at least one token of a context of 48",
        ),
        ("dense,banded(window=2)", "expected at most 1 patterns, as many as layers"),
        (
            "heads(dense,dense,dense)",
            r"expected at most 2 patterns in heads\(...\), as many as",
        ),
    ],
)
def test_attention_that_leaves_no_target_or_has_no_place_is_refused(tmp_path, attention, message):
    said = refusal(run, tmp_path, pretraining(model__attention=attention))
    assert said.startswith(f"config.model.attention: got {attention}, ")
    assert re.search(message, said) and not any(tmp_path.iterdir())


def test_another_text_under_the_same_name_is_refused(copy, whole, monkeypatch):
    corpus = inputs.load_corpus("instructions:documents=59")
    monkeypatch.setattr(inputs, "load_corpus", lambda *_, **__: corpus)
    said = refusal(run, copy, pretraining())
    assert "another run" in said and f", not {whole.record()['corpus_hash'][:12]}" in said


def test_a_run_that_another_process_works_on_is_left_alone(copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with WorkDirectory(str(copy)).checkpoints() as checkpoints:
        checkpoints.acquire_lock()
        said = refusal(run, copy, pretraining())
    assert "another process is writing checkpoints there" in said
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_that_has_ended_goes_on_from_before_its_decay(tmp_path):
    schedule = {"optimizer__schedule": "wsd", "optimizer__decay_fraction": 0.5}
    longer = pretraining(**schedule)
    shorter = pretraining(**schedule, training__num_steps=4, checkpoint__every_steps=2)
    path = run(tmp_path / "run", shorter).path
    assert "has decayed since step 3: go on" in refusal(run, path, longer)
    run(path, longer, change=stopping(5), restore_step=2)
    assert not WorkDirectory(str(path)).has_result()
    assert_same_end(run(path, longer).path, run(tmp_path / "whole", longer))
    assert WorkDirectory(str(path)).result()["step"] == 8


def test_init_from_starts_with_another_runs_parameters(whole, tmp_path):
    start = {"checkpoint__init_from": str(whole.path), "training__seed": 5}
    params = params_at_start(tmp_path / "run", pretraining(**start))
    jax.tree.map(np.testing.assert_array_equal, params, whole.params())
    said = refusal(run, tmp_path / "wider", pretraining(**start, model__d_ff=128))
    assert "does not fit: params " in said and "64,16], expected " in said


def test_what_no_mesh_can_run_is_refused_before_training(tmp_path):
    for axes, message in (
        ({"data": 9}, "product is 8, the devices"),
        ({}, "got 4 sequences "),
        ({"tensor": 8}, "tensor: got 8, expected a divisor of 2, "),
    ):
        assert message in refusal(run, tmp_path / "run", pretraining(**on_mesh(**axes)))
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_stopped_command_goes_on_to_the_same_bits(averaged, tmp_path, monkeypatch):
    """SIGTERM comes once a few steps are done; the same command then ends the run.

    What it keeps besides its parameters, such as their average, goes on too.
    """
    command = [
        "--experiment=demo",
        f"--workdir={tmp_path / 'run'}",
        *(
            f"--config.{field}={_spelt(value)}"
            for field, value in fields(averaged.config()).items()
        ),
    ]
    prepare = LanguageModelling.prepare
    with monkeypatch.context() as patch:
        change = stopping(5, signal.SIGTERM)
        patch.setattr(LanguageModelling, "prepare", lambda *given: change(prepare(*given)))
        stopped = call("train", *command)
    assert stopped.code == 128 + signal.SIGTERM, stopped.errors
    step = steps(tmp_path / "run")[-1]
    assert 4 < step < 8
    assert f"SIGTERM: stopped at step {step}; the same command goes on" in stopped.output
    assert not (tmp_path / "run/result.json").exists()
    ended = call("train", *command)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.endswith("run/result.json, loss.png and checkpoints are written\n")
    assert_same_end(tmp_path / "run", averaged)


def _spelt(value):
    return "none" if value is None else value
