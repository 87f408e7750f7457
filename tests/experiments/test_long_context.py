"""The command lines of `experiments.long_context`; its figures are tested in tests/studies."""

import json

import pytest

from gptjax.runs.workdir import WorkDirectory
from tests.support.binaries import call


def test_a_run_is_judged_before_and_after_it_is_extended(trained, tmp_path):
    source = trained("pretrain")
    command = (f"--workdir={source.path}", f"--output={tmp_path}", "--factor=2", "--windows=2")
    done = call("long_context", *command, "--steps=2", "--trials=0")
    assert (done.code, done.errors) == (0, "")
    report = json.loads((tmp_path / "long_context.json").read_text())
    context = source.config().model.context_length
    assert [(row["way"], row["steps"], len(row["ranges"])) for row in report["rows"]] == [
        (f"in windows of {context}", 0, 2),
        ("none", 0, 1),  # a learned table has no more positions
        ("interpolation", 0, 2),
        ("interpolation", 2, 2),
    ]
    run = WorkDirectory(str(tmp_path / "interpolation")).config()
    assert (run.model.context_length, run.checkpoint.init_from) == (2 * context, str(source.path))
    assert run.training.batch_size == source.config().training.batch_size // 2
    assert "interpolation, 2 steps" in (tmp_path / "long_context.md").read_text()
    assert (tmp_path / "losses.png").stat().st_size > 1000
    assert not (tmp_path / "retrieval.png").exists()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--factor=1", "--factor: got 1, expected more than 1"),
        (
            "--methods=yarn",
            "--methods: got yarn for positions=learned, expected of none, interpola",
        ),
        ("--factor=1000", "has no document of"),
        ("--attention=banded(", "attention"),
    ],
)
def test_bad_input_is_one_line(trained, tmp_path, flag, said):
    workdir = trained("pretrain").path
    done = call("long_context", f"--workdir={workdir}", f"--output={tmp_path / 'new'}", flag)
    assert done.code == 2 and said in done.errors and len(done.errors.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_run_of_another_kind_is_refused(trained, tmp_path):
    done = call("long_context", f"--workdir={trained('sft').path}", f"--output={tmp_path / 'new'}")
    assert done.code == 2 and "got a run of kind sft" in done.errors
