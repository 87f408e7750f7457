"""The command lines of `experiments.sparsify`; its figures are tested in test_sparsification."""

import json
import os
import signal
from types import SimpleNamespace

import pytest

from gptjax.runs import train as runs
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.reporting.metrics import read_metrics
from tests.support.binaries import call


@pytest.fixture(scope="module")
def dense(trained):
    """The directory of a run of eight steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTJAX_CACHE", str(trained.cache))
        yield trained("pretrain").path


@pytest.mark.slow
def test_a_run_is_judged_and_trained_on_under_another_attention(dense, tmp_path):
    judge = (f"--workdir={dense}", "--attention=banded(window=2)")
    done = call("sparsify", *judge, f"--output={tmp_path / 'report'}")
    assert (done.code, done.errors) == (0, "")
    only = json.loads((tmp_path / "report/sparsify.json").read_text())
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "sparsify.json",
        "sparsify.png",
    }
    last = read_metrics(dense / "metrics.jsonl")[-1]
    assert only["loss"]["own"] == pytest.approx(last["loss"], rel=1e-5)
    assert only["bytes_of"] == last["bytes_of"] == "documents"
    assert only["bits_per_byte"]["own"] == pytest.approx(last["bits_per_byte"], rel=1e-5)
    assert 0 < only["kept"][0][0] < 1 and only["kl"] > 0 and only["step"] == 8

    output = f"--output={tmp_path / 'on'}"
    done = call("sparsify", *judge, "--continue_steps=4", output, "--learning_rate=0.005")
    assert (done.code, done.errors) == (0, "")
    report = json.loads((tmp_path / "on/sparsify.json").read_text())
    after = report.pop("continued")
    assert report == only
    workdir = WorkDirectory(str(tmp_path / "on"))
    assert (after["step"], after["loss"]) == (4, workdir.result()["loss"])
    assert after["loss"] < report["loss"]["new"]
    config, own = workdir.config(), WorkDirectory(str(dense)).config()
    assert config.model.attention == "banded(window=2)"
    assert config.optimizer.learning_rate == 0.005
    assert config.training.num_steps == 4
    assert config.training.seed == own.training.seed + 1
    assert (
        workdir.tokenizer().content_hash() == WorkDirectory(str(dense)).tokenizer().content_hash()
    )


def test_a_continued_run_is_evaluated_on_as_many_batches_as_are_asked_for(
    dense, tmp_path, monkeypatch
):
    monkeypatch.setattr(runs, "train", lambda *_: SimpleNamespace(interrupted_by="SIGTERM"))
    judge = (f"--workdir={dense}", "--attention=banded(window=2)", f"--output={tmp_path / 'on'}")
    done = call("sparsify", *judge, "--batches=1", "--continue_steps=4")
    assert (done.code, done.errors) == (128 + signal.SIGTERM, "")
    assert done.output.endswith("stopped; the same command goes on there\n")
    assert WorkDirectory(str(tmp_path / "on")).config().training.eval_batches == 1


def test_bad_input_is_one_line(dense, tmp_path):
    before = sorted(os.listdir(dense))
    run = f"--workdir={dense}"
    for expected, line in {
        "attention 'bandit', column 1: unknown attention": [run, "--attention=bandit"],
        "attention 'banded(window=0)', column 1: banded(": [run, "--attention=banded(window=0)"],
        "strided(stride=49,part=both): got stride=49, expected at most the length, 48": [
            run,
            "--attention=strided(stride=49)",
        ],
        "--attention: got none, expected a value: New attention specification.": [run],
        "--workdir: got none": ["--attention=dense"],
        "--workdir: no run in": [f"--workdir={tmp_path}/no", "--attention=dense"],
        "--output: got none": [run, "--attention=dense", "--continue_steps=3"],
        f"--output: {dense} holds another run": [
            *(run, "--attention=banded(window=2)", "--continue_steps=3", f"--output={dense}")
        ],
    }.items():
        assert call("sparsify", *line).refusal.startswith(expected), line
    assert sorted(os.listdir(dense)) == before
